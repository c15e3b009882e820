//! `quorate run`: the node itself.

use std::sync::Arc;
use std::time::Duration;

use quorate_core::party::PartyId;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::{CommandError, Global};
use crate::clock::SystemClock;
use crate::config::{ConfigError, Folder, HsmConfig};
use crate::device_log::Intake;
use crate::entropy::Entropy;
use crate::handle::{Handle, ServiceError};
use crate::membership::{Membership, MembershipError};
use crate::network::{Network, Timing};
use crate::rotation::must_not_be_under_way;
use crate::sealing::{OpenHsm, open_hedge, open_hsm, open_identity, store_must_exist};
use crate::service::{Parts, Service};
use crate::store::Store;

/// Open API connections get so long to end when the node stops.
const GRACE: Duration = Duration::from_secs(2);

pub(super) fn run(global: &Global) -> Result<(), CommandError> {
    start_log();
    let (place, config) = (global.place(), global.config()?);
    must_not_be_under_way(&place)?;
    let membership_file = place.path().join(&config.membership);
    let membership = Membership::load(&membership_file)?;
    let me = PartyId::new(config.party)
        .ok_or(ConfigError::Field { field: "party", what: "must be 1 to 255" })?;
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
    let hsm = open_hsm(&place, &config)?;
    let identity = Arc::new(open_identity(&place, &config, &hsm)?);
    let hedge = open_hedge(&place, &config, &*hsm.protector)?;
    let OpenHsm { protector, .. } = hsm;
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
    let token = std::fs::read_to_string(place.operator_token())
        .map(zeroize::Zeroizing::new)
        .map_err(|e| CommandError::local("the operator token", e))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| CommandError::local("starting the runtime", e))?;
    runtime.block_on(async {
        let membership = Arc::new(membership);
        let listener = crate::api::bind(config.api).await.map_err(|e| {
            let text = "cannot listen for the API at";
            let what = format!("{text} {}: {e}; free that address or set another api", config.api);
            CommandError::Local(format!("{what} in {}", place.config().display()))
        })?;
        let (network, events) = Network::start(
            Arc::clone(&membership),
            config.party,
            &identity,
            config.listen,
            Timing::default(),
        )
        .await?;
        let mut service = Service::new(Parts {
            me,
            membership,
            identity,
            protector: Arc::clone(&protector),
            hedge,
            store,
            transport: Box::new(network.clone()),
            entropy: Entropy::os(),
            clock: Box::new(SystemClock),
            deadlines: config.deadlines(),
            keeping: config.keeping(),
        })?;
        if let HsmConfig::Yubihsm { serial, .. } = &config.hsm {
            service.watch_device_log(Intake::new(&place, *serial));
        }
        let (handle, commands) = Handle::new();
        let router = crate::api::router(handle, token.trim());
        let (stop, stopped) = watch::channel(false);
        let api = tokio::spawn(crate::api::serve(listener, router, raised(stopped.clone())));
        let object = json!({
            "event": "ready", "party": config.party, "api": config.api.to_string(),
            "address": network.local_addr().to_string(), "hsm": protector.describe(),
        });
        let text = format!(
            "party {} ({}) is ready: peers at {}, API at {}, sealed by {}",
            config.party,
            config.name,
            network.local_addr(),
            config.api,
            protector.describe(),
        );
        global.print(&object, &text);
        let signals = asked_to_stop()?;
        let ended = crate::run::run(service, events, commands, signals).await;
        tracing::info!("stopping");
        let _ = stop.send(true);
        network.shutdown();
        let _ = tokio::time::timeout(GRACE, api).await;
        ended.map_err(|error| CommandError::Local(error.to_string()))
    })
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
