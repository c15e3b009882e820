//! A YubiHSM 2 behind its connector, as far as the published protocol tells: HTTP on the loopback
//! address, SCP03 sessions, capabilities and domains, the audit log. It was written from the protocol
//! alone, and no real device was near: what a device does beyond it, this one does not.
//!
//! It misbehaves on command: see [`Fault`].

// Each program that includes this uses a part of it.
#![allow(dead_code, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

#[path = "emulator/capability.rs"]
pub(crate) mod capability;
#[path = "emulator/channel.rs"]
mod channel;
#[path = "emulator/commands.rs"]
mod commands;
#[path = "emulator/device.rs"]
pub(crate) mod device;
#[path = "emulator/log.rs"]
pub(crate) mod log;
#[path = "emulator/message.rs"]
pub(crate) mod message;

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use device::Device;

/// What becomes of one message.
#[derive(Clone)]
pub(crate) enum Fault {
    None,
    /// The answer comes in two pieces, cut so many bytes after the HTTP head, or before its end.
    Split(isize),
    /// The answer comes late.
    Slow(Duration),
    /// The device gets the message late.
    Stall(Duration),
    /// The bytes of the answer are changed.
    Corrupt(fn(&mut Vec<u8>)),
    /// The connection ends; the device never saw the message.
    CutBefore,
    /// The connection ends; the device carried the message out.
    CutAfter,
    /// The answer is whole, and then the connection ends.
    Hangup,
    /// The connector has no device.
    Status(&'static str),
}

/// Decides by the number of the message, from 0, and its outer code.
type Plan = Box<dyn FnMut(usize, u8) -> Fault + Send>;

pub(crate) struct Emulator {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    device: Mutex<Device>,
    plan: Mutex<(usize, Plan)>,
    ended: AtomicBool,
    connections: Mutex<Vec<TcpStream>>,
}

impl Emulator {
    pub(crate) fn start(serial: u32) -> Self {
        Self::serve(Device::new(serial), own_address())
    }

    pub(crate) fn start_at(serial: u32, port: u16) -> Self {
        Self::serve(Device::new(serial), (Ipv4Addr::LOCALHOST, port).into())
    }

    /// The same device behind another connector: unplugged, and plugged in there.
    pub(crate) fn copied(&self) -> Self {
        Self::serve(self.device().copied(), own_address())
    }

    fn serve(device: Device, address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            device: Mutex::new(device),
            plan: Mutex::new((0, Box::new(|_, _| Fault::None))),
            ended: AtomicBool::new(false),
            connections: Mutex::default(),
        });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if accepting.ended.load(Ordering::SeqCst) {
                    return;
                }
                let serving = Arc::clone(&accepting);
                lock(&accepting.connections).push(stream.try_clone().unwrap());
                std::thread::spawn(move || serving.serve(stream));
            }
        });
        Self { address, shared }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn device(&self) -> MutexGuard<'_, Device> {
        lock(&self.shared.device)
    }

    /// From now on; messages are counted anew.
    pub(crate) fn plan(&self, plan: impl FnMut(usize, u8) -> Fault + Send + 'static) {
        *lock(&self.shared.plan) = (0, Box::new(plan));
    }

    /// Messages since the last [`Emulator::plan`].
    pub(crate) fn messages(&self) -> usize {
        lock(&self.shared.plan).0
    }

    /// Messages of an outer code since the start.
    pub(crate) fn seen(&self, code: u8) -> usize {
        self.device().seen.get(&code).copied().unwrap_or(0)
    }

    /// Commands of a code, inside sessions, since the start.
    pub(crate) fn commands(&self, code: u8) -> usize {
        self.device().commands.get(&code).copied().unwrap_or(0)
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        for connection in lock(&self.shared.connections).drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn serve(&self, stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let Ok(mut out) = stream.try_clone() else { return };
        let mut input = BufReader::new(stream);
        while let Some((request, body)) = read_request(&mut input) {
            let keep = match request.as_str() {
                "GET /connector/status" => out.write_all(&http("200 OK", &self.status())).is_ok(),
                "POST /connector/api" => self.api(&mut out, &body).is_some(),
                _ => out.write_all(&http("404 Not Found", b"")).is_ok(),
            };
            if !keep {
                break;
            }
        }
        let _ = out.shutdown(Shutdown::Both);
    }

    fn status(&self) -> Vec<u8> {
        let serial = lock(&self.device).serial;
        format!("status=OK\nserial={serial:010}\nversion=3.0.0\npid=1\naddress=localhost\nport=0\n")
            .into_bytes()
    }

    /// `None`: the connection is to end.
    fn api(&self, out: &mut TcpStream, body: &[u8]) -> Option<()> {
        let fault = {
            let mut plan = lock(&self.plan);
            let number = plan.0;
            plan.0 += 1;
            (plan.1)(number, body.first().copied().unwrap_or(0))
        };
        if matches!(fault, Fault::CutBefore) {
            return None;
        }
        if let Fault::Status(status) = fault {
            return out.write_all(&http(status, b"")).ok();
        }
        if let Fault::Stall(time) = fault {
            std::thread::sleep(time);
        }
        let mut answer = lock(&self.device).handle(body);
        if let Fault::Corrupt(change) = fault {
            change(&mut answer);
        }
        let whole = http("200 OK", &answer);
        let cut = match fault {
            Fault::CutAfter => return None,
            Fault::Slow(time) => {
                std::thread::sleep(time);
                0
            }
            Fault::Split(at) => {
                (whole.len() - answer.len()).saturating_add_signed(at).min(whole.len())
            }
            _ => 0,
        };
        if cut > 0 {
            out.write_all(&whole[..cut]).ok()?;
            out.flush().ok()?;
            // Long enough for the reader to take the first piece alone.
            std::thread::sleep(Duration::from_millis(60));
        }
        out.write_all(&whole[cut..]).ok()?;
        (!matches!(fault, Fault::Hangup)).then_some(())
    }
}

/// Ports come back within one run of the tests, and what is under test remembers sessions by address.
fn own_address() -> SocketAddr {
    static COUNT: AtomicU16 = AtomicU16::new(1);
    let [high, low] = COUNT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    (Ipv4Addr::new(127, 20, high, low), 0).into()
}

fn read_request(input: &mut impl BufRead) -> Option<(String, Vec<u8>)> {
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if input.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        head.push(line);
    }
    let length = head.iter().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    let mut body = vec![0; length.unwrap_or(0usize).min(4096)];
    input.read_exact(&mut body).ok()?;
    let request = head.first()?.strip_suffix(" HTTP/1.1")?.to_owned();
    Some((request, body))
}

fn http(status: &str, body: &[u8]) -> Vec<u8> {
    let kind = "application/octet-stream";
    let length = body.len();
    let mut out =
        format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n")
            .into_bytes();
    out.extend(body);
    out
}

pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::getrandom(&mut bytes).unwrap();
    bytes
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
