//! The story of a chip: party 4 of four is firmware in the emulator, with a person before its screen.

use std::fs;
use std::io::BufRead as _;
use std::path::Path;
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use serde_json::{Value, json};

use super::{RECIPIENT, STRANGER, Story, field_of, line, local, plain};
use crate::demo::DemoArgs;
use crate::demo::chip::Chip;
use crate::demo::cluster::{CHIP, DemoError};

/// A person before a chip's screen: the demo itself, or whoever runs it.
struct Desk {
    chip: Chip,
    interactive: bool,
}

pub(in crate::demo) fn tell(args: &DemoArgs, json: bool) -> Result<(), DemoError> {
    super::watch_for_interrupt();
    let chain = args.chain.as_deref().map(super::Chain::new);
    let chain_id = chain.as_ref().map_or(Ok(31337), super::Chain::id)?;
    if !json {
        line(
            "Quorate demo: 4 parties, T = 2, quorum 3. Three are nodes; the share of party 4 lives in a chip,",
        );
        line(
            "a Cortex-M4 that QEMU emulates, with a screen and two buttons. Its node only relays.",
        );
    }
    let mut attempt = 1;
    let (cluster, chip) = loop {
        match super::Cluster::create_with_chip(args) {
            Err(DemoError::PortTaken(_)) if attempt < 5 => attempt += 1,
            made => break made?,
        }
    };
    let client_key = cluster.root.path().join("client.key");
    let new = ["client".to_owned(), "new".to_owned(), client_key.display().to_string()];
    cluster.command(1, &new)?;
    let address = String::new();
    let mut story = Story { cluster, chain, json, chain_id, nonce: 0, address, client_key };
    let mut desk = Desk { chip, interactive: args.interactive };
    story.join(&desk)?;
    story.make_key_with_chip(&desk)?;
    story.confirm(&desk)?;
    story.refuse(&desk)?;
    story.cut_the_power(&mut desk)?;
    story.print(&json!({ "step": "done" }), "done; the temporary folder is removed");
    Ok(())
}

impl Desk {
    /// Reads the question that begins with `words`, from screen `from` on, and answers it; and again, as often as it
    /// comes while `running` is not done: when a session ends because some link broke, its coordinator begins another
    /// for the same request, and the chip asks anew.
    fn answer<T>(
        &self,
        mut from: usize,
        words: &str,
        yes: bool,
        running: &ScopedJoinHandle<'_, T>,
    ) -> Result<String, DemoError> {
        loop {
            let (text, next) = self.answer_once(from, words, yes)?;
            from = next;
            while self.chip.find(from, words).is_none() {
                if running.is_finished() {
                    return Ok(text);
                }
                thread::sleep(Duration::from_millis(10));
            }
        }
    }

    /// The question's text, and the number of the screen after its last page.
    fn answer_once(
        &self,
        from: usize,
        words: &str,
        yes: bool,
    ) -> Result<(String, usize), DemoError> {
        let pages = self.chip.read(from, words)?;
        let (text, next) = (pages.join("\n"), self.chip.shown());
        if self.interactive {
            show(&pages);
            line("  y and enter: yes; n and enter: no");
            let mut typed = String::new();
            std::io::stdin().lock().read_line(&mut typed).map_err(|e| local("the terminal", e))?;
            self.chip.press(typed.trim() == "y");
        } else {
            self.chip.press(yes);
        }
        Ok((text, next))
    }
}

fn show(pages: &[String]) {
    line("  ┌─ the chip's screen ─");
    pages.iter().flat_map(|page| page.lines()).for_each(|text| line(format_args!("  │ {text}")));
    line("  └─");
}

impl Story {
    /// Runs a command while the person at the chip answers what it leads to.
    fn while_asked(
        &self,
        desk: &Desk,
        (words, yes): (&str, bool),
        command: impl FnOnce() -> Result<Value, DemoError> + Send,
    ) -> Result<(Value, String), DemoError> {
        let from = desk.chip.shown();
        thread::scope(|scope| {
            let running = scope.spawn(command);
            let answered = desk.answer(from, words, yes, &running);
            let gone = || DemoError::Unexpected("a thread ended".to_owned());
            let done = running.join().map_err(|_| gone())?;
            // A command that failed says more than a screen that did not come.
            match (done, answered) {
                (Err(error @ DemoError::Command { .. }), Ok(text)) => {
                    Err(refused_with(error, &text))
                }
                (Err(error), _) => Err(error),
                (Ok(value), text) => Ok((value, text?)),
            }
        })
    }

    fn show_screen(&self, desk: &Desk, text: &str) {
        // Whoever pressed has seen it.
        if !self.json && !desk.interactive {
            show(&[text.to_owned()]);
        }
    }

    fn join(&mut self, desk: &Desk) -> Result<(), DemoError> {
        self.say("The chip has made its identity key. Its operator compares the members' digest, and presses yes …");
        let join = ["device".to_owned(), "join".to_owned()];
        let cluster = &self.cluster;
        let asked = ("JOIN NETWORK?", true);
        let (joined, screen) = self.while_asked(desk, asked, || cluster.command(CHIP, &join))?;
        let shown = field_of(&joined, "shown");
        if !screen.contains(&shown) {
            return Err(DemoError::Unexpected(format!(
                "the screen does not show {shown}: {screen}"
            )));
        }
        self.show_screen(desk, &screen);
        let object =
            json!({ "step": "joined", "digest": field_of(&joined, "digest"), "screen": screen });
        self.print(&object, &format!("both say {shown}"));
        self.say("Starting three nodes and the chip's relay, linked by TLS 1.3; what parties say to the chip is sealed end to end …");
        for party in 1..=CHIP {
            self.cluster.start(party)?;
        }
        self.cluster.wait_until_linked()
    }

    fn device_policy(&self) -> Result<String, DemoError> {
        let rule = |name: &str, most: &str, confirm: bool| {
            let mut when = json!({
                "client": [self.client_public()?],
                "chain": [self.chain_id],
                "to": [RECIPIENT],
                "value": { "at_most": most },
                "fee": { "at_most": "0.01 ether" },
                "data": "none",
            });
            if let (true, Some(when)) = (confirm, when.as_object_mut()) {
                when.insert("confirm".to_owned(), true.into());
            }
            let limit = json!({
                "measure": "spend", "max": "1 ether", "per": "1h", "strict": { "party": CHIP },
            });
            Ok::<_, DemoError>(json!({
                "name": name, "payload": ["dynamic-fee"], "when": when, "limits": [limit],
            }))
        };
        let rules = [rule("small", "0.001 ether", false)?, rule("confirmed", "0.1 ether", true)?];
        Ok(json!({ "rules": rules }).to_string())
    }

    fn make_key_with_chip(&mut self, desk: &Desk) -> Result<(), DemoError> {
        self.say(
            "Key generation among the four; the chip shows what key it would hold a share of …",
        );
        let file = self.cluster.root.path().join("policy.json");
        fs::write(&file, self.device_policy()?).map_err(|e| local("the policy file", e))?;
        let create = format!("key create --name demo --threshold 2 --policy {}", file.display());
        let asked = ("MAKE KEY?", true);
        let (key, screen) = self.while_asked(desk, asked, || self.ask(1, &create))?;
        self.show_screen(desk, &screen);
        self.address = field_of(&key, "address");
        let object = json!({
            "step": "key", "address": self.address, "public_key": field_of(&key, "public_key"),
            "threshold": key.get("threshold"), "quorum": key.get("quorum"), "screen": screen,
        });
        let text = format!("Ethereum address {}; the chip's share never left it", self.address);
        self.print(&object, &text);
        if let Some(chain) = &self.chain {
            self.say("Funding the address from the chain's first dev account …");
            chain.fund(&self.address)?;
        }
        Ok(())
    }

    fn confirm(&mut self, desk: &Desk) -> Result<(), DemoError> {
        self.say("A transfer of 0.01 ether: the policy asks the person at the chip, who reads it and presses yes …");
        let request = self.request(RECIPIENT)?;
        let (signed, screen) = self.while_asked(desk, ("SIGN?", true), || self.ask(1, &request))?;
        self.show_screen(desk, &screen);
        self.show(&signed, "confirmed", json!({ "screen": screen }))?;
        self.say("A transfer of 0.0001 ether, which the policy allows without asking; the chip judges and counts it by itself …");
        let small = self.request(RECIPIENT)?.replace("0.01ether", "0.0001ether");
        let signed = self.ask(2, &small)?;
        self.show(&signed, "unasked", json!({}))
    }

    fn refuse(&mut self, desk: &Desk) -> Result<(), DemoError> {
        self.say("Another transfer; this time the person presses no …");
        let request = self.request(RECIPIENT)?;
        let refused = self.while_asked(desk, ("SIGN?", false), || self.ask(1, &request));
        self.denied(desk, refused, "refused")?;
        self.say(
            "A transfer to somebody whom the policy does not name: the chip would not even ask …",
        );
        let from = desk.chip.shown();
        let error = match self.ask(1, &self.request(STRANGER)?) {
            Err(DemoError::Command { code: 5, said, .. }) => said,
            Err(other) => return Err(other),
            Ok(signed) => return Err(DemoError::Unexpected(format!("it was signed: {signed}"))),
        };
        if desk.chip.find(from, "SIGN?").is_some() {
            return Err(DemoError::Unexpected("the chip asked about what is denied".to_owned()));
        }
        let message = error_of(&error, "message");
        self.print(&json!({ "step": "denied", "message": message }), &format!("denied: {message}"));
        Ok(())
    }

    fn denied(
        &self,
        desk: &Desk,
        outcome: Result<(Value, String), DemoError>,
        step: &str,
    ) -> Result<(), DemoError> {
        match outcome {
            Err(DemoError::Command { code: 5, said, what }) => {
                self.show_screen(desk, &what);
                let message = error_of(&said, "message");
                let object = json!({ "step": step, "message": message, "screen": what });
                self.print(&object, &format!("not signed: {message}"));
                Ok(())
            }
            Err(other) => Err(other),
            Ok((signed, _)) => Err(DemoError::Unexpected(format!("it was signed: {signed}"))),
        }
    }

    fn cut_the_power(&mut self, desk: &mut Desk) -> Result<(), DemoError> {
        self.say("Another transfer; in the middle of it, while the chip asks, its power is cut …");
        let request = self.request(RECIPIENT)?;
        let from = desk.chip.shown();
        let firmware = self.cluster.firmware().to_owned();
        let folder = self.cluster.chip_folder();
        let port = self.cluster.chip_port();
        let outcome = thread::scope(|scope| {
            let story = &*self;
            let running = scope.spawn(|| story.ask(1, &request));
            let cut = desk.chip.read(from, "SIGN?").map(|_| desk.chip.cut());
            let restarted = cut.and_then(|()| restart(desk, &folder, &firmware, port));
            // Its relay finds it again, and the coordinator asks again as long as it waits.
            let answered = restarted.and_then(|()| desk.answer(0, "SIGN?", true, &running));
            let gone = || DemoError::Unexpected("a thread ended".to_owned());
            let outcome = running.join().map_err(|_| gone())?;
            match (outcome, answered) {
                (Ok(signed), Ok(screen)) => Ok(Some((signed, screen))),
                // It had given up before the chip was back.
                (Err(DemoError::Command { code: 7, .. }), _) => Ok(None),
                (Err(error), _) | (Ok(_), Err(error)) => Err(error),
            }
        })?;
        self.print(
            &json!({ "step": "power-cut", "survived": outcome.is_some() }),
            "the power is back; nothing is lost that was acknowledged",
        );
        self.cluster.wait_until_linked()?;
        let (signed, screen) = match outcome {
            Some(signed) => signed,
            None => self.while_asked(desk, ("SIGN?", true), || self.ask(1, &request))?,
        };
        self.show_screen(desk, &screen);
        self.say("The same share signs:");
        self.show(&signed, "signed-after-power-cut", json!({ "screen": screen }))
    }
}

fn restart(desk: &mut Desk, folder: &Path, firmware: &Path, port: u16) -> Result<(), DemoError> {
    desk.chip = Chip::start(folder, firmware, port)?;
    Ok(())
}

/// What was asked when a command failed, in the place of its name.
fn refused_with(error: DemoError, screen: &str) -> DemoError {
    match error {
        DemoError::Command { code, said, .. } => {
            DemoError::Command { what: screen.to_owned(), code, said }
        }
        other => other,
    }
}

/// A field of the error object that a command printed.
fn error_of(said: &str, name: &str) -> String {
    let object = said.lines().find_map(|line| serde_json::from_str::<Value>(line).ok());
    object.and_then(|object| object.get("error")?.get(name).map(plain)).unwrap_or_default()
}
