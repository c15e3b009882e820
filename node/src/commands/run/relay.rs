//! `quorate run` in the folder of a relay.

use std::sync::Arc;

use quorate_core::party::PartyId;
use serde_json::json;
use tokio::sync::watch;

use super::{GRACE, asked_to_stop, open_secrets, raised};
use crate::commands::{CommandError, Global};
use crate::config::{Config, ConfigError};
use crate::membership::{Membership, MembershipError};
use crate::network::{Network, Timing};
use crate::relay::{Expected, Relay, Shown, part, router};
use crate::sealing::{SealingError, Source};

pub(super) fn run(
    global: &Global,
    config: Config,
    membership: Membership,
) -> Result<(), CommandError> {
    let place = global.place();
    let file = place.path().join(&config.membership);
    let party = PartyId::new(config.party)
        .ok_or(ConfigError::Field { field: "party", what: "must be 1 to 255" })?;
    let wrong = match membership.member(config.party).map(|member| member.relay) {
        Some(Some(relay)) if relay == config.identity => None,
        Some(Some(_)) => Some("relay: not the identity that quorate.toml of this relay has"),
        Some(None) => {
            Some("relay: missing, though quorate.toml names a device that this node relays for")
        }
        None => Some("missing, though quorate.toml says that this node relays for it"),
    };
    if let Some(what) = wrong {
        return Err(MembershipError::Party { id: config.party, what }.of(&file).into());
    }
    let expected = Expected::of(&membership, party)
        .ok_or(MembershipError::Party { id: config.party, what: "missing" })?;
    let device = config.device.clone().unwrap_or_default();
    let line = device.line()?;
    let source = Source::of(device.pin_file.as_deref());
    let local = |e: std::io::Error| CommandError::local("the folder of the PIN's guard", e);
    std::fs::create_dir_all(place.device()).map_err(local)?;
    let guard = source.guard(&crate::config::Folder::new(&place.device()))?;
    guard.check().map_err(SealingError::Hsm)?;
    let pin = source.read("PIN of the device: ")?;
    let identity = open_secrets(&place, &config)?.identity;
    let token = std::fs::read_to_string(place.operator_token())
        .map(zeroize::Zeroizing::new)
        .map_err(|e| CommandError::local("the operator token", e))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| CommandError::local("starting the runtime", e))?;
    let ended = runtime.block_on(async {
        let listener = crate::api::bind(config.api).await.map_err(|e| {
            CommandError::local(&format!("cannot listen for the API at {}", config.api), e)
        })?;
        let membership = Arc::new(membership);
        let (network, events) =
            Network::start(membership, config.party, &identity, config.listen, Timing::default())
                .await?;
        let (shown, (stop, stopped)) = (Shown::default(), watch::channel(false));
        let (order, orders) = tokio::sync::mpsc::channel(1);
        let router = router(shown.clone(), order, token.trim());
        let api = crate::api::serve(listener, router, raised(stopped));
        let api = tokio::spawn(api);
        announce(global, &config, &network, &line.to_string());
        let signals = asked_to_stop()?;
        let relay =
            Relay { network: network.clone(), events, expected, line, pin, guard, shown, orders };
        let ended = relay.run(signals).await;
        tracing::info!("stopping");
        let _ = stop.send(true);
        part(&network).await;
        let _ = tokio::time::timeout(GRACE, api).await;
        ended.map_err(CommandError::Device)
    });
    runtime.shutdown_timeout(GRACE);
    ended
}

fn announce(global: &Global, config: &Config, network: &Network, line: &str) {
    let address = network.local_addr();
    let object = json!({
        "event": "ready", "party": config.party, "api": config.api.to_string(),
        "address": address.to_string(), "device": line,
    });
    let text = format!(
        "the relay of party {} ({}) is ready: peers at {address}, API at {}, device at {line}",
        config.party, config.name, config.api,
    );
    global.print(&object, &text);
}
