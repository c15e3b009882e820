//! The firmware on this machine: the same library as on a chip, on a board in memory. It is a device within the
//! process, whose power fails at any byte that it writes.

use std::collections::VecDeque;
use std::time::Duration;

use quorate_core::device::frame::{self, Decoder};
use quorate_core::device::link::{Event, Request, ToDevice};
use quorate_firmware::device::{Device, Parts, Room};
use quorate_firmware::hosted::{Board, Flash, Line, Panel, Samples, Ticks};
use quorate_firmware::platform::Button;

use super::link::DeviceLink;
use crate::chip::{Gone, Reply, Said};

/// It looks at its buttons and its clock so often, at most, until it has answered.
const POLLS: usize = 1_000_000;
/// A screen has pages, and each wants a press.
const PAGES: usize = 8;

/// A device within the process. Its time goes on by a millisecond whenever it is looked after.
pub struct HostedDevice {
    device: Box<Device<'static, Board>>,
    flash: Flash,
    line: Line,
    panel: Panel,
    ticks: Ticks,
    decoder: Box<Decoder>,
    said: VecDeque<Said>,
    last: u32,
    /// A request that nobody waits for, and what was answered by now.
    posted: Option<(u32, Option<Reply>)>,
}

impl HostedDevice {
    /// Switches a device on.
    ///
    /// # Errors
    /// [`Gone`] if the power fails before it runs.
    pub fn start(flash: &Flash, noise: u64) -> Result<Self, Gone> {
        let (line, panel, ticks) = (Line::new(flash), Panel::default(), Ticks::default());
        let parts = Parts {
            link: line.clone(),
            flash: flash.clone(),
            noise: Samples::seeded(noise),
            person: panel.clone(),
            clock: ticks.clone(),
            firmware: [0xf1; 32],
        };
        // A board has one for ever, in its memory.
        let room = Box::leak(Box::new(Room::new()));
        let device = Box::new(Device::new(parts, room).map_err(|_| Gone)?);
        let (flash, decoder, said) = (flash.clone(), Box::new(Decoder::new()), VecDeque::new());
        let posted = None;
        Ok(Self { device, flash, line, panel, ticks, decoder, said, last: 0, posted })
    }

    /// Asks, and does not wait for the answer: others are asked meanwhile.
    pub fn post(&mut self, request: Request<'_>) {
        self.last += 1;
        self.posted = Some((self.last, None));
        frame::encode_to(&ToDevice { id: self.last, request }, |bytes| self.line.say(bytes));
    }

    /// What was answered to what was posted.
    pub fn answered(&mut self) -> Option<Reply> {
        self.posted.take_if(|(_, reply)| reply.is_some())?.1
    }

    fn keep(&mut self, to: u32, reply: Reply) -> Result<(), Reply> {
        match &mut self.posted {
            Some((id, kept)) if *id == to => {
                *kept = Some(reply);
                Ok(())
            }
            _ => Err(reply),
        }
    }

    /// All that its screen has shown since it was switched on.
    #[must_use]
    pub fn screens(&self) -> Vec<String> {
        self.panel.screens()
    }

    /// Lets time pass.
    pub fn wait(&mut self, time: Duration) {
        self.ticks.pass(time.as_millis() as u64);
    }

    fn poll(&mut self) -> Result<(), Gone> {
        if self.flash.is_off() {
            return Err(Gone);
        }
        self.ticks.pass(1);
        self.device.poll();
        if !self.flash.is_off() {
            return Ok(());
        }
        // What was on the line before.
        while let Some(frame) = self.heard() {
            if let crate::chip::Frame::Said(said) = frame {
                self.said.push_back(said);
            }
        }
        Err(Gone)
    }

    /// What the device has said next, if anything.
    fn heard(&mut self) -> Option<crate::chip::Frame> {
        loop {
            let byte = self.line.hear()?;
            match self.decoder.push(byte) {
                None => {}
                Some(Ok(content)) => return Some(crate::chip::owned(content)),
                Some(Err(fault)) => panic!("the device sent no frame: {fault:?}"),
            }
        }
    }

    fn ask_and(
        &mut self,
        request: Request<'_>,
        mut asked: impl FnMut(&mut Self),
    ) -> Result<Reply, Gone> {
        self.last = if matches!(request, Request::Hello { .. }) { 1 } else { self.last + 1 };
        let id = self.last;
        frame::encode_to(&ToDevice { id, request }, |bytes| self.line.say(bytes));
        for _ in 0..POLLS {
            self.poll()?;
            while let Some(frame) = self.heard() {
                match frame {
                    crate::chip::Frame::Reply(to, reply) => {
                        if let Err(reply) = self.keep(to, reply) {
                            assert_eq!(to, id, "the answer to another request: {reply:?}");
                            return Ok(reply);
                        }
                    }
                    crate::chip::Frame::Said(said) => {
                        let asking = matches!(said, Said::Event(Event::Asking { .. }));
                        self.said.push_back(said);
                        if asking {
                            asked(self);
                        }
                    }
                }
            }
        }
        panic!("no answer to request {id}");
    }
}

impl DeviceLink for HostedDevice {
    fn ask(&mut self, request: Request<'_>) -> Result<Reply, Gone> {
        self.ask_and(request, |_| {})
    }

    fn said(&mut self, wait: Duration) -> Result<Option<Said>, Gone> {
        let mut left = wait.as_millis() + 1;
        while self.said.is_empty() && left > 0 {
            left -= 1;
            self.poll()?;
            match self.heard() {
                Some(crate::chip::Frame::Said(said)) => self.said.push_back(said),
                Some(crate::chip::Frame::Reply(id, reply)) => {
                    let kept = self.keep(id, reply);
                    assert_eq!(kept, Ok(()), "an answer to nothing, {id}");
                }
                None => {}
            }
        }
        Ok(self.said.pop_front())
    }

    fn press(&mut self, confirm: bool) {
        let button = if confirm { Button::Confirm } else { Button::Refuse };
        (0..PAGES).for_each(|_| self.panel.press(button));
    }

    fn ask_person(&mut self, request: Request<'_>, confirm: bool) -> Result<Reply, Gone> {
        self.ask_and(request, |device| device.press(confirm))
    }
}
