//! Whatever carries frames to a device and back.

use std::time::Duration;

use quorate_core::device::link::{Hello, Request, VERSIONS};

use crate::chip::{Emulator, Gone, Reply, Said};

/// The host's end of a device link, and the buttons at the other end.
pub trait DeviceLink {
    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// [`Gone`] if the device has lost its power.
    fn ask(&mut self, request: Request<'_>) -> Result<Reply, Gone>;

    /// What the device has said unasked, or says within `wait`.
    ///
    /// # Errors
    /// [`Gone`] if the device has lost its power.
    fn said(&mut self, wait: Duration) -> Result<Option<Said>, Gone>;

    /// The person answers what the device asks: page by page, if it has several.
    fn press(&mut self, confirm: bool);

    /// [`Self::ask`] for what the device asks the person about.
    ///
    /// # Errors
    /// [`Gone`] if the device has lost its power.
    fn ask_person(&mut self, request: Request<'_>, confirm: bool) -> Result<Reply, Gone>;

    /// Greets in all versions that this build speaks.
    ///
    /// # Errors
    /// [`Gone`] if the device has lost its power.
    ///
    /// # Panics
    /// If the device does not greet back.
    fn hello(&mut self) -> Result<Hello, Gone> {
        let (min, max) = VERSIONS;
        match self.ask(Request::Hello { min, max, entropy: [7; 32] })? {
            Reply::Hello(hello) => Ok(hello),
            reply => panic!("no greeting: {reply:?}"),
        }
    }
}

impl DeviceLink for Emulator {
    fn ask(&mut self, request: Request<'_>) -> Result<Reply, Gone> {
        self.host.ask(request)
    }

    fn said(&mut self, wait: Duration) -> Result<Option<Said>, Gone> {
        self.host.said(wait)
    }

    fn press(&mut self, confirm: bool) {
        self.answer(confirm);
    }

    fn ask_person(&mut self, request: Request<'_>, confirm: bool) -> Result<Reply, Gone> {
        Self::ask_person(self, request, confirm)
    }
}
