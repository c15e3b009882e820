//! Keys in the name of controllers: nobody else makes them.

use quorate_core::policy::Policy;
use quorate_core::policy::control::{ChangeError, ChangeFormError, SignedChange};
use quorate_core::request::NetworkId;

use super::{Policies, Service, history};
use crate::message::Rejection;
use crate::service::records::Public;
use crate::store::{ChangeRow, KeyRow, Store, StoreError};

impl Service {
    /// Whether a key of this name may be made with this policy.
    pub(in crate::service) fn may_create(
        &self,
        policy: &Policy<'_>,
        name: &str,
        approval: &[u8],
    ) -> Result<(), Result<ChangeError, ChangeFormError>> {
        let approval = match approval {
            [] => None,
            bytes => Some(SignedChange::parse(bytes).map_err(Err)?),
        };
        let network = NetworkId(self.network_id);
        policy.admits_creation(&network, name, approval.as_ref(), self.now()).map_err(Ok)
    }

    /// The same of what a coordinator proposes.
    pub(in crate::service) fn approved_by_controllers(
        &self,
        policy: &Policy<'_>,
        name: &str,
        approval: &[u8],
    ) -> Result<(), Rejection> {
        self.may_create(policy, name, approval).map_err(|refused| match refused {
            // By the coordinator's clock it may have been in time.
            Ok(error @ (ChangeError::Expired { .. } | ChangeError::ExpiryTooFar)) => {
                let message = format!("the controllers' approval: {error}");
                Rejection::Denied { rule: error.code().to_owned(), message }
            }
            Ok(error) => Rejection::BadRequest(format!("the controllers' approval: {error}")),
            Err(error) => Rejection::BadRequest(format!("the controllers' approval: {error}")),
        })
    }
}

impl Policies {
    /// Stores a new key with what its controllers signed for it.
    pub(in crate::service) fn insert_controlled(
        &mut self,
        store: &Store,
        row: KeyRow,
        public: &Public,
        change: Vec<u8>,
    ) -> Result<(), StoreError> {
        let now = row.created;
        let audit = history::record_of_creation(now, row.key, &change);
        let owned = history::fresh(&row, public.terms.holders);
        let key = row.key;
        let creation = ChangeRow { change, seen: now, due: now, in_force: Some(now) };
        store.insert_controlled(row, creation, audit)?;
        self.keys.insert(key, owned);
        Ok(())
    }
}
