//! Threads on which calls of the HSM may block, for ever if need be: few, and never more. Nothing else of
//! the node waits for them, its end neither.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use quorate_hsm::{HsmError, HsmSigner, PublicKey};
use tokio::sync::mpsc;
use zeroize::Zeroize as _;

use crate::service::{HSM_CALLS, HSM_THREADS, HsmDone, HsmJob, HsmRunner};

/// Handshakes that the HSM signs at a time, and that may wait for it. Strangers can ask for as many as they
/// like, so these threads are not those of the service.
const SIGNERS: usize = 2;
const WAITING_TO_SIGN: usize = 16;

pub(crate) type Task = Box<dyn FnOnce() + Send>;

/// A number of threads, and a bounded queue before them.
pub(crate) struct Threads(SyncSender<Task>);

impl Threads {
    pub(crate) fn new(name: &str, threads: usize, waiting: usize) -> std::io::Result<Self> {
        let (sender, tasks) = sync_channel(waiting);
        let tasks = Arc::new(Mutex::new(tasks));
        for _ in 0..threads {
            let tasks = Arc::clone(&tasks);
            std::thread::Builder::new().name(name.into()).spawn(move || work(&tasks))?;
        }
        Ok(Self(sender))
    }

    /// Whether the task was taken.
    pub(crate) fn run(&self, task: Task) -> bool {
        match self.0.try_send(task) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        }
    }
}

fn work(tasks: &Mutex<Receiver<Task>>) {
    loop {
        let next = tasks.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(task) = next else { return };
        // A defect in one call must not take the thread from the others.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(task));
        scrub_stack();
    }
}

/// More than any call here puts on its stack, and far less than a thread has.
const SCRUBBED: usize = 256 * 1024;

/// Writes over what the call before left on this thread's stack: shares that it computed with would lie there
/// until the next call, which may be never. It must be a function of its own, to stand where the call stood.
#[inline(never)]
fn scrub_stack() {
    let mut left = [0_u8; SCRUBBED];
    left.zeroize();
    std::hint::black_box(&mut left);
}

/// Runs the service's calls.
pub struct ServiceCalls {
    threads: Threads,
    answers: mpsc::Sender<HsmDone>,
}

impl ServiceCalls {
    /// The threads, and what comes of their calls.
    ///
    /// # Errors
    /// The operating system starts no more threads.
    pub fn new() -> std::io::Result<(Self, mpsc::Receiver<HsmDone>)> {
        let (answers, receiver) = mpsc::channel(HSM_CALLS);
        let threads = Threads::new("hsm", HSM_THREADS, HSM_CALLS)?;
        Ok((Self { threads, answers }, receiver))
    }
}

impl HsmRunner for ServiceCalls {
    fn start(&self, job: HsmJob) {
        let answers = self.answers.clone();
        let taken = self.threads.run(Box::new(move || {
            // The node may have stopped meanwhile.
            let _ = answers.blocking_send(job.run());
        }));
        if !taken {
            // The service keeps the bound; a call that is lost here would end at its deadline.
            tracing::error!("a call of the HSM found no room: this is a bug, please report it");
        }
    }
}

/// An identity key inside the HSM, for whom a signature is of no use after a while: the caller waits so
/// long and no longer, whatever becomes of the call.
pub struct PatientSigner {
    inner: Arc<dyn HsmSigner>,
    limit: Duration,
    threads: Threads,
}

impl PatientSigner {
    /// Signs with `inner`; who asks waits for `limit` at most.
    ///
    /// # Errors
    /// The operating system starts no more threads.
    pub fn new(inner: Arc<dyn HsmSigner>, limit: Duration) -> std::io::Result<Self> {
        Ok(Self { inner, limit, threads: Threads::new("hsm-link", SIGNERS, WAITING_TO_SIGN)? })
    }
}

impl HsmSigner for PatientSigner {
    fn public(&self) -> PublicKey {
        self.inner.public()
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }

    /// # Errors
    /// [`HsmError::NoAnswer`] when the time is up; [`HsmError::Unavailable`] at once when too many wait.
    fn sign(&self, message: &[u8]) -> Result<[u8; 64], HsmError> {
        let (answer, answers) = sync_channel(1);
        let (inner, message) = (Arc::clone(&self.inner), message.to_vec());
        let given_up = Instant::now() + self.limit;
        let taken = self.threads.run(Box::new(move || {
            // Nobody needs it any more: the HSM has more urgent work.
            if Instant::now() < given_up {
                let _ = answer.send(inner.sign(&message));
            }
        }));
        if !taken {
            let reason = format!("{} handshakes wait for a signature", SIGNERS + WAITING_TO_SIGN);
            return Err(HsmError::Unavailable { reason });
        }
        let (seconds, waiting) = (self.limit.as_secs(), 1);
        let silent = |_| Err(HsmError::NoAnswer { seconds, waiting });
        answers.recv_timeout(self.limit).unwrap_or_else(silent)
    }
}

/// Makes a call on a thread of its own; `None` if it has not returned after `limit`. After `soon`, and then
/// as often, `waiting` is told for how long it lasts.
pub(crate) fn within<T: Send + 'static>(
    limit: Duration,
    soon: Duration,
    waiting: impl Fn(Duration),
    call: impl FnOnce() -> T + Send + 'static,
) -> std::io::Result<Option<T>> {
    let (answer, answers) = sync_channel(1);
    let begin = Instant::now();
    std::thread::Builder::new().name("start".into()).spawn(move || answer.send(call()))?;
    loop {
        let left = limit.saturating_sub(begin.elapsed());
        match answers.recv_timeout(left.min(soon)) {
            Ok(result) => return Ok(Some(result)),
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => {
                return Err(std::io::Error::other("a call of the HSM ended in a defect"));
            }
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) if left <= soon => return Ok(None),
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => waiting(begin.elapsed()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Condvar;

    /// It hangs until it is let go.
    #[derive(Default)]
    struct Hanging {
        free: Mutex<bool>,
        freed: Condvar,
        inside: Mutex<usize>,
    }

    impl HsmSigner for Hanging {
        fn public(&self) -> PublicKey {
            PublicKey::Ed25519([0; 32])
        }
        fn describe(&self) -> String {
            "test".into()
        }
        fn sign(&self, _message: &[u8]) -> Result<[u8; 64], HsmError> {
            *self.inside.lock().unwrap() += 1;
            let free = self.free.lock().unwrap();
            drop(self.freed.wait_while(free, |free| !*free).unwrap());
            Ok([1; 64])
        }
    }

    /// Leaves its stack full of a pattern, and says where.
    #[inline(never)]
    fn leave(pattern: u8) -> usize {
        let left = std::hint::black_box([pattern; LEFT]);
        std::hint::black_box(&left).as_ptr() as usize
    }

    const LEFT: usize = 64 * 1024;

    #[test]
    fn a_call_leaves_nothing_on_the_stack_of_its_thread() {
        use std::os::unix::fs::FileExt as _;
        let threads = Threads::new("test", 1, 2).unwrap();
        let (sender, places) = sync_channel(2);
        let (end, next) = (sender.clone(), 0);
        assert!(threads.run(Box::new(move || sender.send(leave(0xa7)).unwrap())));
        // It is the same thread's, and begins when all of the first is over.
        let place = places.recv().unwrap();
        while !threads.run(Box::new({
            let end = end.clone();
            move || end.send(next).unwrap()
        })) {}
        assert_eq!(places.recv().unwrap(), next);
        let memory = std::fs::File::open("/proc/self/mem").unwrap();
        let mut bytes = vec![0; LEFT];
        memory.read_exact_at(&mut bytes, place as u64).unwrap();
        let found = bytes.iter().filter(|byte| **byte == 0xa7).count();
        // A frame of the second call may hold any byte.
        assert!(found < LEFT / 16, "{found} of {LEFT} bytes are still there");
    }

    #[test]
    fn handshakes_wait_for_a_hanging_hsm_in_bounds_and_use_it_again() {
        let device = Arc::new(Hanging::default());
        let limit = Duration::from_millis(500);
        let inner = Arc::clone(&device) as Arc<dyn HsmSigner>;
        let signer = Arc::new(PatientSigner::new(inner, limit).unwrap());
        for round in 0..2 {
            let begin = Instant::now();
            let callers: Vec<_> = (0..100)
                .map(|_| {
                    let signer = Arc::clone(&signer);
                    std::thread::spawn(move || signer.sign(b"handshake"))
                })
                .collect();
            let errors: Vec<_> =
                callers.into_iter().map(|caller| caller.join().unwrap().unwrap_err()).collect();
            assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
            let refused =
                errors.iter().filter(|error| matches!(error, HsmError::Unavailable { .. })).count();
            // In the second round the queue is full from the first.
            let waited = if round == 0 { SIGNERS + WAITING_TO_SIGN } else { 0 };
            assert!(refused >= 100 - waited && refused < 100 + round, "{refused}");
            assert_eq!(*device.inside.lock().unwrap(), SIGNERS);
        }
        *device.free.lock().unwrap() = true;
        device.freed.notify_all();
        let until = Instant::now() + Duration::from_secs(20);
        while signer.sign(b"handshake") != Ok([1; 64]) {
            assert!(Instant::now() < until, "it does not sign again");
        }
        // What was given up is not made good.
        assert!(*device.inside.lock().unwrap() < SIGNERS + WAITING_TO_SIGN);
    }

    #[test]
    fn a_call_that_panics_takes_no_thread_away() {
        let threads = Threads::new("test", 1, 2).unwrap();
        assert!(threads.run(Box::new(|| panic!("meant"))));
        let (sender, receiver) = sync_channel(1);
        let next = move || sender.send(7).unwrap();
        assert!(threads.run(Box::new(next)));
        assert_eq!(receiver.recv_timeout(Duration::from_secs(20)), Ok(7));
    }

    #[test]
    fn a_call_that_does_not_return_is_told_of_and_left() {
        let (told, limit) = (Mutex::new(0), Duration::from_millis(200));
        let waiting = |_| *told.lock().unwrap() += 1;
        let (forever, receiver) = sync_channel::<()>(0);
        let call = move || receiver.recv().is_ok();
        let soon = Duration::from_millis(30);
        assert_eq!(within(limit, soon, waiting, call).unwrap(), None);
        assert!(*told.lock().unwrap() >= 3);
        drop(forever);
        assert_eq!(within(limit, soon, |_| {}, || 7).unwrap(), Some(7));
        assert!(within(limit, soon, |_| {}, || panic!("meant")).is_err());
    }
}
