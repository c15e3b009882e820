//! The loop: network events, commands and the clock go in one at a time; what follows is executed in
//! order. It has a thread of its own, since durable commits block. Calls of the HSM may block for ever: they
//! have threads of their own, and come back as inputs. So do facts about the world.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::handle::Command;
use crate::network::Event;
use crate::service::{FactsDone, HsmDone, Service};

const TICK: Duration = Duration::from_millis(50);
/// The end waits so long for the HSM to sign the last head of the audit log.
const LAST_HEAD: Duration = Duration::from_secs(2);

enum Input {
    Event(Event),
    Command(Command),
    Hsm(HsmDone),
    Facts(FactsDone),
    Tick,
    /// Whatever is left to do before the end, until the other half is dropped.
    Finish(oneshot::Sender<()>),
    Stop,
}

/// The service ended by itself, which it never should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunError {
    /// Its thread could not start.
    NoThread,
    /// Its thread ended: a defect. The node stops rather than run without its mind.
    Ended,
}

impl std::fmt::Display for RunError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NoThread => "the service thread could not start",
            Self::Ended => "the service thread ended unexpectedly: this is a bug, please report it",
        })
    }
}

impl std::error::Error for RunError {}

/// Runs `service` until one of its channels closes or `stop` resolves. `answers` are the HSM's, `facts` the
/// world's.
///
/// # Errors
/// [`RunError`] if the service's thread is not there any more.
pub async fn run(
    mut service: Service,
    mut events: mpsc::Receiver<Event>,
    mut commands: mpsc::Receiver<Command>,
    mut answers: mpsc::Receiver<HsmDone>,
    mut facts: mpsc::Receiver<FactsDone>,
    stop: impl Future<Output = ()>,
) -> Result<(), RunError> {
    // One place: the sender waits for the service, so queues stay where their bounds are.
    let (inputs, mut queue) = mpsc::channel(1);
    let worker = std::thread::Builder::new()
        .name("service".into())
        .spawn(move || {
            while let Some(input) = queue.blocking_recv() {
                match input {
                    Input::Event(event) => service.handle_event(event),
                    Input::Command(command) => service.handle_command(command),
                    Input::Hsm(done) => service.handle_hsm(done),
                    Input::Facts(done) => service.handle_facts(done),
                    Input::Tick => service.handle_tick(),
                    Input::Finish(reply) => service.stop(reply),
                    Input::Stop => break,
                }
            }
        })
        .map_err(|_| RunError::NoThread)?;
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    tokio::pin!(stop);
    let asked = loop {
        let input = tokio::select! {
            () = &mut stop => Input::Stop,
            event = events.recv() => event.map_or(Input::Stop, Input::Event),
            command = commands.recv() => command.map_or(Input::Stop, Input::Command),
            done = answers.recv() => done.map_or(Input::Stop, Input::Hsm),
            done = facts.recv() => done.map_or(Input::Stop, Input::Facts),
            _ = tick.tick() => Input::Tick,
        };
        if matches!(input, Input::Stop) {
            // What is not finished by then never is.
            let _ = tokio::time::timeout(LAST_HEAD, finish(&inputs, &mut answers)).await;
            break inputs.send(Input::Stop).await.is_ok();
        }
        if inputs.send(input).await.is_err() {
            break false;
        }
    };
    let ended = tokio::task::spawn_blocking(move || worker.join()).await;
    if asked && matches!(ended, Ok(Ok(()))) { Ok(()) } else { Err(RunError::Ended) }
}

/// Feeds the service with what the HSM answers, until it has finished.
async fn finish(inputs: &mpsc::Sender<Input>, answers: &mut mpsc::Receiver<HsmDone>) {
    let (reply, mut finished) = oneshot::channel();
    if inputs.send(Input::Finish(reply)).await.is_err() {
        return;
    }
    loop {
        let done = tokio::select! {
            // Nothing is ever sent.
            _ = &mut finished => return,
            done = answers.recv() => done,
        };
        let Some(done) = done else { return };
        if inputs.send(Input::Hsm(done)).await.is_err() {
            return;
        }
    }
}
