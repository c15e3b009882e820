//! Why this device takes no part, in one byte on its way through the functions; the words are put where it is told.

use quorate_core::policy::Code;

use crate::message::Rejection;

/// One list of the causes, each with what the others read.
macro_rules! causes {
    ($($(#[$condition:meta])* $name:ident = $told:ident $text:tt,)*) => {
        /// Why this device takes no part in a session.
        #[derive(Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Cause {
            /// Its policy denies it.
            Policy(Code),
            $($(#[$condition])* $name,)*
        }

        impl Cause {
            /// As a coordinator reads it.
            #[inline(never)]
            pub(crate) fn told(self) -> Rejection<'static> {
                match self {
                    Self::Policy(code) => Rejection::Denied {
                        rule: code.text(),
                        message: "the policy denies it on the device",
                    },
                    $($(#[$condition])* Self::$name => causes!(@ $told $text),)*
                }
            }
        }
    };
    (@ $told:ident ()) => {
        Rejection::$told
    };
    (@ Denied ($rule:literal, $message:literal)) => {
        Rejection::Denied { rule: $rule, message: $message }
    };
    (@ $told:ident $text:tt) => {
        Rejection::$told $text
    };
}

causes! {
    Fault = Fault(),
    Busy = Busy(),
    UnknownKey = UnknownKey(),
    Person = Denied("refused", "the person at the device has not agreed"),
    Window = Denied("window", "a limit of the key's policy would be exceeded on the device"),
    Strict = Denied("strict", "a strict limit of the policy does not admit the quorum"),
    RolledBack = Failed("the device was put back to an earlier state"),
    Noise = Failed("the device's source of randomness fails its tests"),
    Holder = Failed("a holder was put back to an earlier state"),
    Member = Failed("a member was put back to an earlier state"),
    Unwitnessed = Failed("too few holders have told the device what they saw of it"),
    Untold = Failed("too few holders have told the device the time"),
    DoesNotFit = Failed("the share does not fit"),
    Differ = Failed("the device computed two different results"),
    Misbehaviour = Failed("the device saw a party misbehave"),
    Broadcasts = Failed("the device and another party saw different broadcasts"),
    Generation = Failed("the key generation failed on the device"),
    Nonces = Failed("the nonces do not fit together"),
    Network = BadRequest("the request is for another network"),
    TooLong = BadRequest("the request is longer than a device can take"),
    Malformed = BadRequest("the request, or a signature on it, is malformed"),
    Digests = BadRequest("this key signs digests, and nothing else"),
    Payload = BadRequest("the payload cannot be read"),
    Conflict = BadRequest("the request was signed otherwise"),
    Limits = BadRequest("more limits than a device counts"),
    Derivation = BadRequest("there is no such derived key"),
    Salts = BadRequest("the salts are not right"),
    Quorum = BadRequest("the quorum, or what is to be signed, is not possible"),
    KeySession = BadRequest("the proposal is of another network or session"),
    KeyRange = BadRequest("the proposal's epoch or name is out of range"),
    Scheme = BadRequest("the device has no such scheme"),
    Size = BadRequest("a key on a device has at most 7 holders, and a quorum of 5"),
    Strangers = BadRequest(
        "the holders are not all members, or this party is not among them"
    ),
    LongPolicy = BadRequest("the policy is longer than a device can take"),
    BadPolicy = BadRequest("the policy is malformed"),
    OtherPolicy = BadRequest("the terms do not bind this policy"),
    Unjudged = BadRequest("a device judges no policy with controllers or delays"),
    NoQuorum = BadRequest(
        "a strict limit of the policy admits no quorum of these holders"
    ),
    SameKey = BadRequest("the device has this key, or one of this name"),
    Full = BadRequest("the device has no room for another key; `quorate device forget` gives a place back"),
    #[cfg(feature = "frost")]
    FrostDerivation = BadRequest("FROST signs with no derived key on a device"),
    #[cfg(feature = "frost")]
    FrostQuorum = BadRequest("the quorum is not possible with FROST"),
    #[cfg(feature = "frost")]
    FrostList = Failed("the list of commitments is not possible"),
    #[cfg(feature = "frost")]
    FrostUsed = Failed("the nonce was used before"),
    #[cfg(feature = "frost")]
    FrostOwn = Failed("the device's own commitment is not there"),
}
