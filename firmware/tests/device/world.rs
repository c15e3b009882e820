//! A device, its host, and three other parties.

use quorate_core::device::frame::{self, Decoder};
use quorate_core::device::link::{
    Answer, Event, FromDevice, Hello, Member, Refused, Request, Status, ToDevice,
};
use quorate_core::party::PartyId;
use quorate_firmware::device::{Device, Parts, Room};
use quorate_firmware::hosted::{Board, Flash, Line, Panel, Samples, Ticks};
use quorate_firmware::platform::Button;

use super::node::{NETWORK, Node, id};

pub const PIN: &[u8] = b"123456";
pub const NOW: u64 = 1_800_000_000;
pub const ME: u16 = 4;

pub struct World {
    pub device: Device<'static, Board>,
    pub line: Line,
    pub flash: Flash,
    pub panel: Panel,
    pub ticks: Ticks,
    pub nodes: Vec<Node>,
    pub events: Vec<Event>,
    /// Refusals of frames from parties.
    pub refused: Vec<Refused>,
    pub me: Member,
    next: u32,
    decoder: Box<Decoder>,
}

/// What the device answered, without borrowing.
#[derive(Debug, PartialEq)]
pub enum Said {
    Hello(Hello),
    Done,
    Refused(Refused),
    Status(Box<Status>),
    Key([u8; 16], bool),
}

fn boot(
    line: &Line,
    flash: &Flash,
    panel: &Panel,
    ticks: &Ticks,
    noise: Samples,
) -> Device<'static, Board> {
    let parts = Parts {
        link: line.clone(),
        flash: flash.clone(),
        noise,
        person: panel.clone(),
        clock: ticks.clone(),
        firmware: [0xf1; 32],
    };
    Device::new(parts, Box::leak(Box::new(Room::new()))).unwrap()
}

impl World {
    /// A blank device.
    pub fn blank(noise: Samples) -> Self {
        let (flash, panel, ticks) = (Flash::default(), Panel::default(), Ticks::default());
        let line = Line::new(&flash);
        let nodes = vec![Node::new(1, NOW), Node::new(2, NOW + 1), Node::new(3, NOW + 2)];
        let me = Member { party: id(ME), ..nodes[0].member() };
        Self {
            device: boot(&line, &flash, &panel, &ticks, noise),
            line,
            flash,
            panel,
            ticks,
            nodes,
            events: Vec::new(),
            refused: Vec::new(),
            me,
            next: 0,
            decoder: Box::new(Decoder::new()),
        }
    }

    /// A device in a network, unlocked, with channels to all.
    pub fn joined() -> Self {
        let mut world = Self::blank(Samples::seeded(1));
        world.hello();
        assert_eq!(world.ask(Request::Initialize { pin: PIN }), Said::Done);
        let Said::Hello(hello) = world.hello() else { panic!() };
        world.me = Member { party: id(ME), identity: hello.identity.unwrap() };
        assert_eq!(world.ask(Request::Unlock { pin: PIN }), Said::Done);
        assert_eq!(world.join(Button::Confirm), Said::Done);
        world.connect();
        world
    }

    pub fn join(&mut self, button: Button) -> Said {
        let mut members: heapless::Vec<Member, 8> = self.nodes.iter().map(Node::member).collect();
        members.push(self.me).unwrap();
        let request = Request::Join { network: NETWORK, party: self.me.party, members };
        self.ask_person(request, button)
    }

    /// The power is cut, and comes back.
    pub fn reboot(&mut self) {
        (self.line, self.ticks) = (Line::new(&self.flash), Ticks::default());
        let noise = Samples::seeded(u64::from(self.next) + 100);
        self.device = boot(&self.line, &self.flash, &self.panel, &self.ticks, noise);
        self.unlock();
    }

    pub fn unlock(&mut self) {
        self.hello();
        assert_eq!(self.ask(Request::Unlock { pin: PIN }), Said::Done);
        self.connect();
    }

    pub fn connect(&mut self) {
        for place in 0..self.nodes.len() {
            let party = self.nodes[place].id;
            assert_eq!(self.ask(Request::PeerUp(party)), Said::Done);
            let me = self.me;
            self.nodes[place].received.clear();
            self.nodes[place].begin(&me);
        }
        self.pump();
        assert!(self.nodes.iter().all(Node::is_open));
    }

    pub fn hello(&mut self) -> Said {
        self.ask(Request::Hello { min: 1, max: 1, entropy: [9; 32] })
    }

    /// Sends a request and gives the answer to it.
    pub fn ask(&mut self, request: Request<'_>) -> Said {
        let id = self.say(request);
        self.answer_to(id).expect("an answer")
    }

    /// Sends a request that a person must agree to.
    pub fn ask_person(&mut self, request: Request<'_>, button: Button) -> Said {
        let id = self.say(request);
        assert_eq!(self.answer_to(id), None);
        self.panel.press(button);
        self.answer_to(id).expect("an answer")
    }

    fn say(&mut self, request: Request<'_>) -> u32 {
        self.next += 1;
        let frame = ToDevice { id: self.next, request };
        frame::encode_to(&frame, |bytes| self.line.say(bytes));
        self.next
    }

    pub fn answer_to(&mut self, id: u32) -> Option<Said> {
        let said = self.listen();
        assert!(said.len() <= 1, "{said:?}");
        let (answered, said) = said.into_iter().next()?;
        assert_eq!(answered, id);
        Some(said)
    }

    /// All answers to requests; what is said unasked is put where it belongs.
    pub fn listen(&mut self) -> Vec<(u32, Said)> {
        self.device.poll();
        let bytes = self.line.hear_all();
        let (mut bytes, mut said) = (&bytes[..], Vec::new());
        while !bytes.is_empty() {
            let Some(content) = self.decoder.feed(&mut bytes) else { continue };
            let FromDevice { id, answer } = frame::decode(content.unwrap()).unwrap();
            match answer {
                Answer::Hello(hello) => said.push((id, Said::Hello(hello))),
                Answer::Done => said.push((id, Said::Done)),
                Answer::Refused(refused) => said.push((id, Said::Refused(refused))),
                Answer::Status(status) => said.push((id, Said::Status(Box::new(status)))),
                Answer::Send { to, bytes } => {
                    let node = self.nodes.iter_mut().find(|node| node.id == to).unwrap();
                    node.handle(bytes);
                }
                Answer::Event(event) => self.events.push(event),
                Answer::Key { key, active, .. } => said.push((id, Said::Key(key, active))),
            }
        }
        said
    }

    /// Gives the device all frames that wait for it, in turn.
    pub fn pump(&mut self) {
        assert_eq!(self.listen(), []);
        loop {
            let mut moved = false;
            for place in 0..self.nodes.len() {
                let Some(frame) = self.nodes[place].frames.front().cloned() else { continue };
                let from = self.nodes[place].id;
                match self.ask(Request::Relay { from, bytes: &frame }) {
                    Said::Done => {}
                    Said::Refused(Refused::Later(party)) => {
                        assert_eq!(party, from);
                        continue;
                    }
                    Said::Refused(refused) => self.refused.push(refused),
                    other => panic!("{other:?}"),
                }
                self.nodes[place].frames.pop_front();
                moved = true;
            }
            if !moved {
                return;
            }
        }
    }

    pub fn press(&mut self, button: Button) {
        self.panel.press(button);
        self.pump();
    }

    pub fn pass(&mut self, millis: u64) {
        self.ticks.pass(millis);
        self.pump();
    }

    pub fn node(&mut self, party: PartyId) -> &mut Node {
        self.nodes.iter_mut().find(|node| node.id == party).unwrap()
    }

    pub fn status(&mut self) -> Status {
        let Said::Status(status) = self.ask(Request::Status) else { panic!() };
        *status
    }

    pub fn screen(&self) -> String {
        self.panel.screen()
    }
}
