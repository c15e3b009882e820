//! The device: objects, sessions, options, log; and what it does with a message from the connector.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::channel::{CHALLENGE, Channel, MAC};
use super::log::{Event, Log, NONE};
use super::message::{self, Fields, Refusal, answer};
use super::{capability, commands, random};

pub(crate) const SESSIONS: usize = 16;
const IDLE: Duration = Duration::from_secs(30);
pub(crate) const DEFAULT_PASSWORD: &str = "password";

/// Object types, as they are published.
pub(crate) mod kind {
    pub(crate) const AUTHENTICATION_KEY: u8 = 2;
    pub(crate) const ASYMMETRIC_KEY: u8 = 3;
    pub(crate) const WRAP_KEY: u8 = 4;
    pub(crate) const HMAC_KEY: u8 = 5;
}

#[derive(Clone)]
pub(crate) struct Object {
    pub(crate) domains: u16,
    pub(crate) capabilities: u64,
    pub(crate) delegated: u64,
    pub(crate) algorithm: u8,
    pub(crate) sequence: u8,
    /// 1: generated in the device, 2: imported.
    pub(crate) origin: u8,
    pub(crate) label: [u8; 40],
    pub(crate) secret: Vec<u8>,
}

pub(crate) struct Session {
    channel: Channel,
    pub(crate) key: u16,
    authenticated: bool,
    used: Instant,
}

pub(crate) struct Device {
    pub(crate) serial: u32,
    /// Algorithms that DEVICE INFO lists.
    pub(crate) algorithms: Vec<u8>,
    /// By identifier and type.
    pub(crate) objects: BTreeMap<(u16, u8), Object>,
    /// How often an identifier was used before.
    pub(crate) sequences: BTreeMap<(u16, u8), u8>,
    sessions: [Option<Session>; SESSIONS],
    pub(crate) log: Log,
    /// How far its clock is ahead of ours.
    ahead: Duration,
    /// Messages by their outer code.
    pub(crate) seen: BTreeMap<u8, usize>,
    /// Commands inside sessions by their code.
    pub(crate) commands: BTreeMap<u8, usize>,
}

impl Device {
    pub(crate) fn new(serial: u32) -> Self {
        let mut device = Self::empty(serial);
        device.factory_reset();
        device
    }

    fn empty(serial: u32) -> Self {
        Self {
            serial,
            algorithms: (1..=0x2f).filter(|algorithm| *algorithm != 0x25).collect(),
            objects: BTreeMap::new(),
            sequences: BTreeMap::new(),
            sessions: [const { None }; SESSIONS],
            log: Log::new(random()),
            ahead: Duration::ZERO,
            seen: BTreeMap::new(),
            commands: BTreeMap::new(),
        }
    }

    /// Without its sessions, and with nothing seen yet.
    pub(crate) fn copied(&self) -> Self {
        let mut copy = Self {
            objects: self.objects.clone(),
            algorithms: self.algorithms.clone(),
            sequences: self.sequences.clone(),
            log: self.log.clone(),
            ..Self::empty(self.serial)
        };
        copy.log.boot();
        copy
    }

    pub(crate) fn factory_reset(&mut self) {
        self.drop_sessions();
        self.objects.clear();
        self.log = Log::new(random());
        let administrator = Object {
            domains: 0xffff,
            capabilities: capability::ALL,
            delegated: capability::ALL,
            algorithm: 0x26,
            sequence: 0,
            origin: 2,
            label: *b"DEFAULT AUTHKEY CHANGE THIS ASAP\0\0\0\0\0\0\0\0",
            secret: password_key(DEFAULT_PASSWORD).to_vec(),
        };
        self.objects.insert((1, kind::AUTHENTICATION_KEY), administrator);
    }

    pub(crate) fn drop_sessions(&mut self) {
        self.sessions = [const { None }; SESSIONS];
    }

    pub(crate) fn power_cycle(&mut self) {
        self.drop_sessions();
        self.log.boot();
    }

    pub(crate) fn advance(&mut self, time: Duration) {
        self.ahead += time;
        let now = Instant::now() + self.ahead;
        for session in &mut self.sessions {
            if session.as_ref().is_some_and(|session| now - session.used >= IDLE) {
                *session = None;
            }
        }
    }

    pub(crate) fn open_sessions(&self) -> usize {
        self.sessions.iter().flatten().count()
    }

    /// One message from the connector, and the answer to it.
    pub(crate) fn handle(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.advance(Duration::ZERO);
        let Some((code, data)) = message::parse(bytes) else {
            return answer(0, Err(Refusal::WrongLength));
        };
        *self.seen.entry(code).or_default() += 1;
        let result = match code {
            message::ECHO => Ok(data.to_vec()),
            message::DEVICE_INFO => Ok(commands::device_info(self)),
            message::CREATE_SESSION => self.create_session(data),
            message::AUTHENTICATE_SESSION => self.authenticate(data),
            message::SESSION_MESSAGE => self.session_message(data),
            _ => Err(Refusal::InvalidCommand),
        };
        answer(code, result)
    }

    fn create_session(&mut self, data: &[u8]) -> Result<Vec<u8>, Refusal> {
        let mut fields = Fields(data);
        let (key, host) = (fields.u16()?, fields.array::<CHALLENGE>()?);
        fields.finish()?;
        let object =
            self.objects.get(&(key, kind::AUTHENTICATION_KEY)).ok_or(Refusal::ObjectNotFound)?;
        let free = self.sessions.iter_mut().enumerate().find(|(_, session)| session.is_none());
        let (index, slot) = free.ok_or(Refusal::SessionsFull)?;
        let card = random();
        let secret: [u8; 32] = object.secret.as_slice().try_into().unwrap();
        let channel = Channel::new(&secret, host, card);
        let number = u8::try_from(index).unwrap();
        let out = [[number].as_slice(), &card, &channel.card_cryptogram()].concat();
        let used = Instant::now() + self.ahead;
        *slot = Some(Session { channel, key, authenticated: false, used });
        self.log.session(Event {
            command: message::CREATE_SESSION,
            length: data.len(),
            session_key: NONE,
            target_key: key,
            result: message::CREATE_SESSION | message::ANSWER,
        });
        Ok(out)
    }

    fn authenticate(&mut self, data: &[u8]) -> Result<Vec<u8>, Refusal> {
        let mut fields = Fields(data);
        let number = fields.u8()?;
        let (cryptogram, mac) = (fields.array::<8>()?, fields.array::<MAC>()?);
        fields.finish()?;
        let slot = self.sessions.get_mut(usize::from(number)).ok_or(Refusal::InvalidSession)?;
        let session = slot.as_mut().ok_or(Refusal::InvalidSession)?;
        let key = session.key;
        let authentic =
            !session.authenticated && session.channel.authenticate(number, &cryptogram, &mac);
        session.authenticated = authentic;
        if !authentic {
            *slot = None;
        }
        let result = message::AUTHENTICATE_SESSION | message::ANSWER;
        self.log.session(Event {
            command: message::AUTHENTICATE_SESSION,
            length: data.len(),
            session_key: NONE,
            target_key: key,
            result: if authentic { result } else { Refusal::AuthenticationFailed as u8 },
        });
        if authentic { Ok(Vec::new()) } else { Err(Refusal::AuthenticationFailed) }
    }

    fn session_message(&mut self, data: &[u8]) -> Result<Vec<u8>, Refusal> {
        let (&number, rest) = data.split_first().ok_or(Refusal::WrongLength)?;
        let (sealed, mac) = rest.split_last_chunk::<MAC>().ok_or(Refusal::WrongLength)?;
        let now = Instant::now() + self.ahead;
        let slot = self.sessions.get_mut(usize::from(number)).ok_or(Refusal::InvalidSession)?;
        let session = slot.as_mut().filter(|session| session.authenticated);
        let session = session.ok_or(Refusal::InvalidSession)?;
        let Some(plain) = session.channel.open(number, sealed, mac) else {
            return Err(Refusal::AuthenticationFailed);
        };
        session.used = now;
        let key = session.key;
        let inner = self.inner(&plain, key);
        let slot = &mut self.sessions[usize::from(number)];
        // A factory reset takes the session with it, and its answer.
        let session = slot.as_mut().ok_or(Refusal::InvalidSession)?;
        let out = [[number].as_slice(), &session.channel.seal(number, &inner)].concat();
        if message::parse(&plain).is_some_and(|(code, _)| code == message::CLOSE_SESSION) {
            *slot = None;
        }
        Ok(out)
    }

    fn inner(&mut self, plain: &[u8], key: u16) -> Vec<u8> {
        let Some((code, data)) = message::parse(plain) else {
            return answer(0, Err(Refusal::WrongLength));
        };
        *self.commands.entry(code).or_default() += 1;
        // What drains the log goes on when it is full.
        let exempt = [
            message::GET_LOG_ENTRIES,
            message::SET_LOG_INDEX,
            message::CLOSE_SESSION,
            message::DEVICE_INFO,
        ];
        if self.log.force && self.log.full() && !exempt.contains(&code) {
            return answer(code, Err(Refusal::LogFull));
        }
        let result = commands::execute(self, key, code, data);
        let target = match (&result, data.first_chunk()) {
            (Ok(made), _) if commands::makes(code) => u16::from_be_bytes([made[0], made[1]]),
            (_, Some(id)) if code != message::SET_LOG_INDEX => u16::from_be_bytes(*id),
            _ => NONE,
        };
        if !(self.log.force && self.log.full()) {
            self.log.record(Event {
                command: code,
                length: data.len(),
                session_key: key,
                target_key: target,
                result: result
                    .as_ref()
                    .map_or_else(|refusal| *refusal as u8, |_| code | message::ANSWER),
            });
        }
        answer(code, result)
    }
}

/// As the published tools make an authentication key of a password.
pub(crate) fn password_key(password: &str) -> [u8; 32] {
    let mut key = [0; 32];
    pbkdf2::pbkdf2_hmac::<sha2::Sha256>(password.as_bytes(), b"Yubico", 10_000, &mut key);
    key
}
