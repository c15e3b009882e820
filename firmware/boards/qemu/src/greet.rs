//! Answers Hello, and nothing else.

use quorate_core::device::frame::{self, Decoder};
use quorate_core::device::link::{
    Answer, FromDevice, Hello, MAX_FRAME, Refused, Request, Status, ToDevice, VERSIONS, WINDOW,
    features,
};

use crate::clock::{Timer, sleep};
use crate::flash::Flash;
use crate::image;
use crate::person::Terminal;
use crate::uart::{Noise, Uart};

pub(crate) fn run(mut link: Uart, _: Flash, _: Noise, _: Terminal, _: Timer) -> ! {
    let mut decoder = Decoder::new();
    let mut last = None;
    loop {
        let Some(byte) = link.take() else {
            sleep();
            continue;
        };
        let Some(content) = decoder.push(byte) else { continue };
        let (id, answer) = match content.and_then(|content| frame::decode(content)) {
            Ok(ToDevice { id, request }) => (id, answer(&mut last, id, &request)),
            Err(fault) => (0, Answer::Refused(Refused::Frame(fault))),
        };
        frame::encode_to(&FromDevice { id, answer }, |bytes| {
            bytes.iter().for_each(|byte| link.put(*byte));
        });
    }
}

fn answer(last: &mut Option<u32>, id: u32, request: &Request<'_>) -> Answer<'static> {
    let refused = match (request, *last) {
        (Request::Hello { min, max, .. }, _) => {
            *last = None;
            if *min > VERSIONS.1 || *max < VERSIONS.0 {
                Refused::Version { min: VERSIONS.0, max: VERSIONS.1 }
            } else {
                *last = Some(id);
                return Answer::Hello(Hello {
                    version: VERSIONS.1.min(*max),
                    max_frame: MAX_FRAME as u16,
                    window: WINDOW,
                    features: features::ECDSA | features::BIP340,
                    firmware: image::digest(),
                    identity: None,
                    joined: None,
                });
            }
        }
        (_, None) => Refused::HelloFirst,
        (_, Some(last)) if id <= last => Refused::OldId { last },
        (Request::Status, _) => {
            *last = Some(id);
            return Answer::Status(Status {
                initialized: false,
                unlocked: false,
                pin_tries: 0,
                keys: 0,
                channels: 0,
                rolled_back: false,
                log: (0, 0),
                erases: 0,
                now: None,
                stack: image::stack_used(),
            });
        }
        _ => {
            *last = Some(id);
            Refused::NotInitialized
        }
    };
    Answer::Refused(refused)
}
