//! The loop: network events, commands and the clock go in one at a time; what follows is executed in
//! order. It has a thread of its own, since HSM calls and durable commits block.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::handle::Command;
use crate::network::Event;
use crate::service::Service;

const TICK: Duration = Duration::from_millis(50);

enum Input {
    Event(Event),
    Command(Command),
    Tick,
    Stop,
}

/// Runs `service` until both channels close or `stop` resolves.
pub async fn run(
    mut service: Service,
    mut events: mpsc::Receiver<Event>,
    mut commands: mpsc::Receiver<Command>,
    stop: impl Future<Output = ()>,
) {
    // One place: the sender waits for the service, so queues stay where their bounds are.
    let (inputs, mut queue) = mpsc::channel(1);
    let worker = std::thread::Builder::new().name("service".into()).spawn(move || {
        while let Some(input) = queue.blocking_recv() {
            match input {
                Input::Event(event) => service.handle_event(event),
                Input::Command(command) => service.handle_command(command),
                Input::Tick => service.handle_tick(Instant::now()),
                Input::Stop => break,
            }
        }
    });
    let Ok(worker) = worker else {
        tracing::error!("the service thread could not start");
        return;
    };
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    tokio::pin!(stop);
    loop {
        let input = tokio::select! {
            () = &mut stop => Input::Stop,
            event = events.recv() => event.map_or(Input::Stop, Input::Event),
            command = commands.recv() => command.map_or(Input::Stop, Input::Command),
            _ = tick.tick() => Input::Tick,
        };
        let over = matches!(input, Input::Stop);
        if inputs.send(input).await.is_err() || over {
            break;
        }
    }
    let _ = tokio::task::spawn_blocking(move || worker.join()).await;
}
