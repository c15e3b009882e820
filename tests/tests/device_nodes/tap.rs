//! Somebody between a relay and its device, who does to frames what a relay that lies would: of the next frame of
//! a channel one thing, once.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use quorate_core::device::frame::{self, Decoder};
use quorate_core::device::link::{Answer, FromDevice, Request, ToDevice};

/// What is done to one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// A bit of it is another.
    Alter,
    /// It never comes.
    Drop,
    /// The one before comes again in its place.
    Replay,
}

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    ToDevice,
    FromDevice,
}

/// A line that is tapped.
pub struct Tap(Arc<Mutex<Option<(Way, Lie)>>>);

impl Tap {
    /// Listens at `front`, and forwards to the device at `back`.
    pub fn new(front: SocketAddr, back: SocketAddr) -> Self {
        let (listener, next) = (TcpListener::bind(front).unwrap(), Arc::default());
        let lies = Arc::clone(&next);
        std::thread::spawn(move || {
            for host in listener.incoming().flatten() {
                let Ok(device) = TcpStream::connect(back) else { continue };
                host.set_nodelay(true).unwrap();
                device.set_nodelay(true).unwrap();
                let ends = [&host, &device].map(|end| end.try_clone().unwrap());
                let [back_to_host, from_device] = ends;
                let (there, here) = (Arc::clone(&lies), Arc::clone(&lies));
                std::thread::spawn(move || forward(Way::ToDevice, host, device, &there));
                std::thread::spawn(move || {
                    forward(Way::FromDevice, from_device, back_to_host, &here)
                });
            }
        });
        Self(next)
    }

    /// The next sealed frame that way.
    pub fn lie(&self, way: Way, lie: Lie) {
        *self.0.lock().unwrap() = Some((way, lie));
    }

    pub fn has_lied(&self) -> bool {
        self.0.lock().unwrap().is_none()
    }
}

fn forward(way: Way, mut from: TcpStream, mut to: TcpStream, lies: &Mutex<Option<(Way, Lie)>>) {
    let (mut decoder, mut buffer) = (Box::new(Decoder::new()), [0; 4096]);
    let mut before = Vec::new();
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        for byte in &buffer[..count] {
            let content = match decoder.push(*byte) {
                Some(Ok(content)) => content.to_vec(),
                // The zero with which a host begins.
                Some(Err(_)) => continue,
                None => continue,
            };
            for bytes in pass(way, &content, &mut before, lies) {
                if to.write_all(&bytes).is_err() {
                    return;
                }
            }
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
    let _ = from.shutdown(std::net::Shutdown::Both);
}

/// The lie that is due for a sealed frame.
fn due(way: Way, sealed: &[u8], before: &[u8], lies: &Mutex<Option<(Way, Lie)>>) -> Option<Lie> {
    let mut lies = lies.lock().unwrap();
    let (_, lie) = (*lies)
        .filter(|(wanted, lie)| *wanted == way && (*lie != Lie::Replay || !before.is_empty()))?;
    if sealed.first() != Some(&2) || sealed.len() > 200 && before.is_empty() {
        return None;
    }
    *lies = None;
    Some(lie)
}

fn told(sealed: &[u8], before: &[u8], lie: Lie) -> Option<Vec<u8>> {
    match lie {
        Lie::Alter => {
            let mut other = sealed.to_vec();
            let last = other.len() - 1;
            other[last] ^= 1;
            Some(other)
        }
        Lie::Drop => None,
        Lie::Replay => Some(before.to_vec()),
    }
}

fn encoded<T: serde::Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::encode_to(value, |part| bytes.extend_from_slice(part));
    bytes
}

fn pass(
    way: Way,
    content: &[u8],
    before: &mut Vec<u8>,
    lies: &Mutex<Option<(Way, Lie)>>,
) -> Vec<Vec<u8>> {
    match way {
        Way::ToDevice => {
            let Ok(ToDevice { id, request }) = frame::decode::<ToDevice<'_>>(content) else {
                return Vec::new();
            };
            let Request::Relay { from, bytes } = request else {
                return vec![encoded(&ToDevice { id, request })];
            };
            let Some(lie) = due(way, bytes, before, lies) else {
                bytes.clone_into(before);
                return vec![encoded(&ToDevice { id, request: Request::Relay { from, bytes } })];
            };
            // The host waits for an answer; what is asked instead changes nothing.
            match told(bytes, before, lie) {
                Some(bytes) => {
                    let request = Request::Relay { from, bytes: &bytes };
                    vec![encoded(&ToDevice { id, request })]
                }
                None => vec![encoded(&ToDevice { id, request: Request::Status })],
            }
        }
        Way::FromDevice => {
            let Ok(FromDevice { id, answer }) = frame::decode::<FromDevice<'_>>(content) else {
                return Vec::new();
            };
            let Answer::Send { to, bytes } = answer else {
                return vec![encoded(&FromDevice { id, answer })];
            };
            let Some(lie) = due(way, bytes, before, lies) else {
                bytes.clone_into(before);
                return vec![encoded(&FromDevice { id, answer: Answer::Send { to, bytes } })];
            };
            let bytes = told(bytes, before, lie);
            let answer = bytes.as_ref().map(|bytes| Answer::Send { to, bytes });
            answer.map(|answer| encoded(&FromDevice { id, answer })).into_iter().collect()
        }
    }
}
