//! The node's way to ask: each source has threads of its own, so that one which hangs holds up nobody else.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::mpsc;

use super::{Known, OwnedQuestion, Place, Sources, Unavailable};
use crate::hsm_threads::Threads;
use crate::service::{FETCHES, FactsDone, FactsJob, FactsRunner};

/// Questions that one source is asked at a time.
const AT_A_TIME: usize = 4;
/// And so many wait for their turn.
const WAITING: usize = 64;

/// Runs the service's questions.
pub struct Lanes {
    sources: Arc<Sources>,
    /// By the number of the source.
    lanes: Vec<Threads>,
    answers: mpsc::Sender<FactsDone>,
}

impl Lanes {
    /// The threads, and where answers come out.
    ///
    /// # Errors
    /// The operating system starts no more threads.
    pub fn new(sources: Sources) -> std::io::Result<(Self, mpsc::Receiver<FactsDone>)> {
        // Jobs that the service has given up may still end beside those that it waits for.
        let (answers, receiver) = mpsc::channel(4 * FETCHES);
        let lane = |_| Threads::new("facts", AT_A_TIME, WAITING);
        let lanes: std::io::Result<Vec<_>> = (0..sources.count()).map(lane).collect();
        Ok((Self { sources: Arc::new(sources), lanes: lanes?, answers }, receiver))
    }
}

/// One job, of which places answer their parts; when the last is done with it, it is answered.
struct Gather {
    id: u64,
    known: Mutex<Known>,
    answers: mpsc::Sender<FactsDone>,
}

impl Gather {
    fn add(&self, questions: Vec<OwnedQuestion>, results: Vec<Result<super::Found, Unavailable>>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        questions
            .into_iter()
            .zip(results)
            .for_each(|(question, result)| known.add(question, result));
    }
}

impl Drop for Gather {
    fn drop(&mut self) {
        let known = self.known.get_mut().unwrap_or_else(PoisonError::into_inner);
        let done = FactsDone::new(self.id, std::mem::take(known));
        if self.answers.try_send(done).is_err() {
            // The node stops, or the service has given it up long ago.
            tracing::debug!("answers that nobody waits for");
        }
    }
}

impl FactsRunner for Lanes {
    fn start(&self, job: FactsJob) {
        let until = Instant::now() + job.patience().min(self.sources.timeout());
        let (places, known) = self.sources.places(job.questions());
        let known = Mutex::new(known);
        let gather = Arc::new(Gather { id: job.id(), known, answers: self.answers.clone() });
        for Place { source, about, questions } in places {
            let (sources, part) = (Arc::clone(&self.sources), Arc::clone(&gather));
            let asked = questions.clone();
            let task = Box::new(move || {
                let results = sources.ask(source, &about, &questions, until);
                part.add(questions, results);
            });
            if !self.lanes.get(source).is_some_and(|lane| lane.run(task)) {
                let busy = asked.iter().map(|_| Err(Unavailable::BUSY)).collect();
                gather.add(asked, busy);
            }
        }
    }
}
