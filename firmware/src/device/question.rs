//! One question at a time to the person at the device, with pages, buttons and an end.

use quorate_core::device::link::{Answer, Event, Refused};

use super::Engine;
use crate::PATIENCE;
use crate::keygen::Held;
use crate::platform::{Button, Person as _, Platform};

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum About {
    /// To join [`Engine::candidate`]; the host's request of this id waits for the answer.
    Join(u32),
    Readmit(u32),
    Wipe(u32),
    /// To forget a key, as it was when it was asked.
    Forget(u32, Held),
    /// To take part in the key generation under way.
    Key,
    /// To sign what this session asks.
    Sign(usize),
}

pub(crate) struct Question {
    pub(crate) about: About,
    /// Milliseconds.
    until: u64,
    page: usize,
    pages: usize,
}

impl<P: Platform> Engine<'_, P> {
    /// Asks; there is no question.
    pub(crate) fn ask(&mut self, about: About) {
        // What was pressed before was no answer to this.
        while self.person.pressed().is_some() {}
        let until = self.known.millis().saturating_add(u64::from(PATIENCE) * 1000);
        let pages = self.show(about, 0);
        self.question = Some(Question { about, until, page: 0, pages });
        self.event(Event::Asking { seconds: PATIENCE });
    }

    /// The question is over without an answer: what it was about has ended.
    pub(crate) fn take_back(&mut self, about: About) {
        if self.question.as_ref().is_some_and(|question| question.about == about) {
            self.question = None;
            self.person.show("");
        }
    }

    /// An operator's request that waits for the person is over.
    pub(super) fn decline_operator(&mut self) {
        if let Some(About::Join(id) | About::Readmit(id) | About::Wipe(id) | About::Forget(id, _)) =
            self.question.as_ref().map(|question| question.about)
        {
            self.question = None;
            self.person.show("");
            self.answer(id, Answer::Refused(Refused::Declined));
        }
    }

    pub(super) fn watch_person(&mut self) {
        let now = self.known.millis();
        let Some(question) = &mut self.question else { return };
        let about = question.about;
        let agreed = match self.person.pressed() {
            Some(Button::Confirm) if question.page + 1 < question.pages => {
                question.page += 1;
                let page = question.page;
                self.show(about, page);
                return;
            }
            Some(Button::Confirm) => true,
            Some(Button::Refuse) => false,
            None if now >= question.until => false,
            None => return,
        };
        self.question = None;
        self.person.show("");
        self.event(if agreed { Event::Agreed } else { Event::Declined });
        self.decided(about, agreed);
    }

    #[inline(never)]
    fn decided(&mut self, about: About, agreed: bool) {
        let (id, done) = match about {
            About::Join(id) => (id, if agreed { self.join() } else { Err(Refused::Declined) }),
            About::Readmit(id) => {
                (id, if agreed { self.readmit() } else { Err(Refused::Declined) })
            }
            About::Wipe(id) => (id, if agreed { self.wipe() } else { Err(Refused::Declined) }),
            About::Forget(id, held) => {
                (id, if agreed { self.forget_key(held) } else { Err(Refused::Declined) })
            }
            About::Key => return self.key_decided(agreed),
            About::Sign(slot) => return self.sign_decided(slot, agreed),
        };
        *self.candidate = None;
        self.answer(id, done.map_or_else(Answer::Refused, |()| Answer::Done));
    }

    #[inline(never)]
    pub(super) fn tick(&mut self) {
        self.watch_person();
        let now = self.known.millis();
        self.expire_generation(now);
        self.expire_sessions(now);
        self.confirm_again(now);
    }
}
