//! `quorate run`: the node itself, or the relay of a device.

mod relay;

use std::sync::Arc;
use std::time::Duration;

use quorate_core::party::PartyId;
use quorate_core::secret::SecretBytes;
use quorate_hsm::{HsmError, KeyProtector};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::{CommandError, Global};
use crate::audit::{Countersigned, Whose};
use crate::channels::{Channels, Credentials};
use crate::clock::SystemClock;
use crate::config::{Config, ConfigError, Folder, HsmConfig};
use crate::device_log::Intake;
use crate::entropy::Entropy;
use crate::facts::{Lanes, Sources};
use crate::handle::{Handle, ServiceError};
use crate::hsm_threads::{ServiceCalls, within};
use crate::identity::IdentityKey;
use crate::membership::{Membership, MembershipError};
use crate::network::{Network, Timing};
use crate::rotation::must_not_be_under_way;
use crate::sealing::{
    SealingError, asks_a_person, open_hedge, open_hsm, open_identity, store_must_exist,
};
use crate::service::{Parts, Service, Transport};
use crate::store::Store;

/// Open API connections get so long to end when the node stops.
const GRACE: Duration = Duration::from_secs(2);
/// Before a start that waits for the HSM says so.
const SOON: Duration = Duration::from_secs(3);
/// The start logs in, finds keys, and opens the canary and this party's own secrets: it may wait as long as
/// so many calls.
const START_CALLS: u32 = 3;

pub(super) fn run(global: &Global) -> Result<(), CommandError> {
    start_log();
    let (place, config) = (global.place(), global.config()?);
    must_not_be_under_way(&place)?;
    let membership_file = place.path().join(&config.membership);
    let membership = Membership::load(&membership_file)?;
    let me = PartyId::new(config.party)
        .ok_or(ConfigError::Field { field: "party", what: "must be 1 to 255" })?;
    if config.device.is_some() {
        return relay::run(global, config, membership);
    }
    let wrong = match membership.identity_of(config.party) {
        Some(identity) if *identity == config.identity => None,
        Some(_) => Some("identity: not the one that quorate.toml of this party has"),
        None => Some("missing, though quorate.toml says that this node is that party"),
    };
    if let Some(what) = wrong {
        let error = MembershipError::Party { id: config.party, what };
        return Err(error.of(&membership_file).into());
    }
    // Everything that can fail with an exit code of its own comes before the network.
    let secrets = open_secrets(&place, &config)?;
    store_must_exist(&place)?;
    let store = Store::open(&place.store())?;
    // A rotation may have come in between, before the store's lock kept it away.
    must_not_be_under_way(&place)?;
    if global.config()?.hsm != config.hsm {
        let what =
            "another key-encryption key came into use while the node started; start it again";
        return Err(CommandError::Local(what.to_owned()));
    }
    check_owner(&store, &place, me)?;
    let (network, identity) = (membership.network(), config.identity);
    let countersigned = Countersigned::of_group(&store, &membership)?;
    crate::audit::check(&store, &Whose { network, party: me, identity }, countersigned)?;
    super::init::forget(&place)?;
    let token = std::fs::read_to_string(place.operator_token())
        .map(zeroize::Zeroizing::new)
        .map_err(|e| CommandError::local("the operator token", e))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| CommandError::local("starting the runtime", e))?;
    let last = (Arc::clone(&secrets.protector), Arc::clone(&secrets.identity));
    let start = Start { me, config, membership: Arc::new(membership), secrets, store };
    let ended = runtime.block_on(start.serve(global, &place, token.trim()));
    // A handshake may still wait for the HSM, and closing its sessions is one more call.
    runtime.shutdown_timeout(GRACE);
    let _ = within(GRACE, GRACE, |_| {}, move || drop(last));
    ended
}

/// What the HSM keeps closed.
struct Secrets {
    protector: Arc<dyn KeyProtector>,
    identity: Arc<IdentityKey>,
    hedge: SecretBytes,
}

fn open_secrets(place: &Folder, config: &Config) -> Result<Secrets, CommandError> {
    // A person takes the time that typing takes, and sees who does not answer.
    let asked = match asks_a_person(&config.hsm) {
        true => Some(open_hsm(place, config)?),
        false => None,
    };
    let (place, config) = (place.clone(), config.clone());
    let limit = config.deadlines().hsm * START_CALLS;
    in_time(limit, move || -> Result<Secrets, SealingError> {
        let hsm = asked.map_or_else(|| open_hsm(&place, &config), Ok)?;
        let identity = Arc::new(open_identity(&place, &config, &hsm)?);
        let hedge = open_hedge(&place, &config, &*hsm.protector)?;
        Ok(Secrets { protector: hsm.protector, identity, hedge })
    })?
    .map_err(CommandError::from)
}

/// What the start asks of the HSM, which may never answer: then it ends, and until then it says what it
/// waits for.
fn in_time<T: Send + 'static>(
    limit: Duration,
    call: impl FnOnce() -> T + Send + 'static,
) -> Result<T, CommandError> {
    let waiting = |since: Duration| {
        tracing::warn!("waiting for the HSM, for {} s of at most {limit:?}", since.as_secs());
    };
    let answer = within(limit, SOON, waiting, call).map_err(|e| CommandError::local("a thread", e));
    let silent = HsmError::NoAnswer { seconds: limit.as_secs(), waiting: 1 };
    answer?.ok_or(CommandError::Sealing(SealingError::Hsm(silent)))
}

/// All that a node begins with.
struct Start {
    me: PartyId,
    config: Config,
    membership: Arc<Membership>,
    secrets: Secrets,
    store: Store,
}

impl Start {
    async fn serve(self, global: &Global, place: &Folder, token: &str) -> Result<(), CommandError> {
        let Self { me, config, membership, secrets, store } = self;
        let Secrets { protector, identity, hedge } = secrets;
        let sources = Sources::new(&config.facts.clone().unwrap_or_default(), place.path());
        let sources = sources.map_err(ConfigError::Facts)?;
        let listener = crate::api::bind(config.api).await.map_err(|e| {
            let text = "cannot listen for the API at";
            let what = format!("{text} {}: {e}; free that address or set another api", config.api);
            CommandError::Local(format!("{what} in {}", place.config().display()))
        })?;
        let threads = |e| CommandError::local("starting a thread", e);
        let (timing, deadlines) = (Timing::default(), config.deadlines());
        let channels = match Channels::needed(&membership, me) {
            true => {
                let (id, identity) = (membership.network(), Arc::clone(&identity));
                let (hedge, lock) = (SecretBytes::new(*hedge.expose()), config.keeping().lock);
                let made = move || Credentials::new(&id, me, &identity, &hedge, lock);
                let made = in_time(deadlines.hsm, made)?;
                Some(made.map_err(|e| CommandError::local("the channels to devices", e))?)
            }
            false => None,
        };
        let (network, events) =
            Network::start(Arc::clone(&membership), config.party, &identity, config.listen, timing)
                .await?;
        let (transport, events): (Box<dyn Transport>, _) = match channels {
            Some(credentials) => {
                let (channels, events) =
                    Channels::start(network.clone(), events, &membership, credentials);
                (Box::new(channels), events)
            }
            None => (Box::new(network.clone()), events),
        };
        let (hsm, answers) = ServiceCalls::new().map_err(threads)?;
        let (facts, known) = Lanes::new(sources).map_err(threads)?;
        // Before the loop: it may have to look far back in the audit log.
        let intake = match &config.hsm {
            HsmConfig::Yubihsm { serial, .. } => Some(Intake::begin(place, *serial, &store)?),
            _ => None,
        };
        let parts = Parts {
            me,
            membership,
            identity,
            protector: Arc::clone(&protector),
            hsm: Box::new(hsm),
            facts: Box::new(facts),
            hedge,
            store,
            transport,
            entropy: Entropy::os(),
            clock: Box::new(SystemClock),
            deadlines,
            keeping: config.keeping(),
        };
        let mut service = in_time(deadlines.hsm, move || Service::new(parts))??;
        if let Some(intake) = intake {
            service.watch_device_log(intake);
        }
        let (handle, commands) = Handle::new();
        let router = crate::api::router(handle, token);
        let (stop, stopped) = watch::channel(false);
        let api = tokio::spawn(crate::api::serve(listener, router, raised(stopped.clone())));
        announce(global, &config, &network, &protector.describe());
        let signals = asked_to_stop()?;
        let ended = crate::run::run(service, events, commands, answers, known, signals).await;
        tracing::info!("stopping");
        let _ = stop.send(true);
        network.shutdown();
        let _ = tokio::time::timeout(GRACE, api).await;
        ended.map_err(|error| CommandError::Local(error.to_string()))
    }
}

fn announce(global: &Global, config: &Config, network: &Network, hsm: &str) {
    let object = json!({
        "event": "ready", "party": config.party, "api": config.api.to_string(),
        "address": network.local_addr().to_string(), "hsm": hsm,
    });
    let text = format!(
        "party {} ({}) is ready: peers at {}, API at {}, sealed by {hsm}",
        config.party,
        config.name,
        network.local_addr(),
        config.api,
    );
    global.print(&object, &text);
}

/// A store of another party opens, but none of its shares would: better to say so at the start. The
/// headers of sealed shares are not secret, so the HSM is not asked.
fn check_owner(store: &Store, place: &Folder, me: PartyId) -> Result<(), CommandError> {
    for row in store.keys()? {
        let Ok(header) = quorate_hsm::inspect(&row.sealed) else { continue };
        let owner = header.context.party;
        if owner != me.number() {
            let reason = format!(
                "{}: the share of key {} belongs to party {owner}, this is party {me}; put this \
                 party's own store there",
                place.store().display(),
                row.name,
            );
            return Err(ServiceError::Sealed { reason }.into());
        }
    }
    Ok(())
}

fn start_log() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("QUORATE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second call in one process changes nothing.
    let _ = log.with_ansi(false).with_target(false).try_init();
}

async fn raised(mut flag: watch::Receiver<bool>) {
    while !*flag.borrow_and_update() {
        if flag.changed().await.is_err() {
            return;
        }
    }
}

/// Resolves at SIGTERM or SIGINT.
fn asked_to_stop() -> Result<impl Future<Output = ()>, CommandError> {
    let wrong = |e| CommandError::local("signals", e);
    let mut terminate = signal(SignalKind::terminate()).map_err(wrong)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(wrong)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
