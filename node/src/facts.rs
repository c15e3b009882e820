//! Facts: what this node finds out about the world for itself, from its own sources and nobody else's.
//! [`Sources`] are what `[facts]` in `quorate.toml` lists; [`Lanes`] asks them beside the service.
//!
//! Whatever goes wrong makes a fact unknown, and the unknown allows nothing. So a source can withhold, and a
//! source that lies decides for this party alone.

mod address;
mod chain;
mod config;
mod http;
mod json;
mod known;
mod lanes;
mod rpc;
mod web;

use std::borrow::Cow;
use std::path::Path;
use std::time::{Duration, Instant};

pub use address::is_public;
pub use config::{ChainConfig, FactsConfig, FactsError, SecretText, WebConfig};
pub use known::{Found, Known, OwnedAnswer, OwnedJson, OwnedQuestion, Seen};
pub use lanes::Lanes;

use chain::Chain;
use web::Web;

/// Why a fact is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable(Cow<'static, str>);

impl Unavailable {
    const LATE: Self = Self(Cow::Borrowed("no answer in time"));
    const REDIRECT: Self = Self(Cow::Borrowed("it redirects, and redirects are not followed"));
    const BUSY: Self = Self(Cow::Borrowed("too many questions wait for this source"));
    const DEFECT: Self = Self(Cow::Borrowed("a defect; please report it"));
    const NOT_ALIKE: Self = Self(Cow::Borrowed("the endpoints do not answer alike"));
    const TOO_YOUNG: Self =
        Self(Cow::Borrowed("the chain has no block with so many confirmations"));
    const TOO_MUCH: Self =
        Self(Cow::Borrowed("one request would need too much of this to be kept"));

    /// A reason in words; they are shown and must not have an address in them.
    #[must_use]
    pub fn new(what: impl Into<String>) -> Self {
        Self(Cow::Owned(what.into()))
    }

    /// The same with who it is about.
    fn by(self, who: &str) -> Self {
        Self::new(format!("{who}: {}", self.0))
    }

    fn all(reasons: &[Self]) -> Self {
        let words: Vec<&str> = reasons.iter().map(|reason| &*reason.0).collect();
        Self::new(words.join("; "))
    }
}

impl std::fmt::Display for Unavailable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unavailable {}

/// Whom this node asks.
pub struct Sources {
    chains: Vec<Chain>,
    web: Vec<Web>,
    timeout: Duration,
}

/// What a source is asked about, at once.
#[derive(Clone, Debug, PartialEq, Eq)]
enum About {
    /// The state with so many confirmations.
    State(u16),
    /// The document at this address.
    Document(String),
}

/// Questions for one source.
struct Place {
    /// The source's number: chains first.
    source: usize,
    about: About,
    questions: Vec<OwnedQuestion>,
}

impl Sources {
    /// The sources of a checked configuration; nothing is asked yet.
    ///
    /// # Errors
    /// [`FactsError`]: a file of root certificates cannot be used.
    pub fn new(config: &FactsConfig, folder: &Path) -> Result<Self, FactsError> {
        config.check()?;
        let chain = |(index, chain)| {
            let new = Chain::new(chain, folder, config.max_bytes);
            new.map_err(|error: FactsError| error.within(&format!("chain[{index}]")))
        };
        let web = |(index, web)| {
            let new = Web::new(web, folder, config.max_bytes);
            new.map_err(|error: FactsError| error.within(&format!("web[{index}]")))
        };
        let chains: Result<Vec<_>, _> = config.chain.iter().enumerate().map(chain).collect();
        let web: Result<Vec<_>, _> = config.web.iter().enumerate().map(web).collect();
        Ok(Self { chains: chains?, web: web?, timeout: config.timeout() })
    }

    /// How long one request may take.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Asks here and now, and waits for it.
    #[must_use]
    pub fn fetch(&self, questions: &[OwnedQuestion]) -> Known {
        let until = Instant::now() + self.timeout;
        let (places, mut known) = self.places(questions);
        for Place { source, about, questions } in places {
            let results = self.ask(source, &about, &questions, until);
            questions
                .into_iter()
                .zip(results)
                .for_each(|(question, result)| known.add(question, result));
        }
        known
    }

    fn count(&self) -> usize {
        self.chains.len() + self.web.len()
    }

    /// Who is to be asked what, and what nobody can be asked.
    fn places(&self, questions: &[OwnedQuestion]) -> (Vec<Place>, Known) {
        let (mut places, mut known): (Vec<Place>, _) = (Vec::new(), Known::default());
        for question in questions {
            let (source, about) = match self.place_of(question) {
                Ok(place) => place,
                Err(reason) => {
                    known.add(question.clone(), Err(reason));
                    continue;
                }
            };
            let same = |place: &&mut Place| place.source == source && place.about == about;
            match places.iter_mut().find(same) {
                Some(place) if place.questions.contains(question) => {}
                Some(place) => place.questions.push(question.clone()),
                None => places.push(Place { source, about, questions: vec![question.clone()] }),
            }
        }
        (places, known)
    }

    fn place_of(&self, question: &OwnedQuestion) -> Result<(usize, About), Unavailable> {
        let at = match question {
            OwnedQuestion::Call { at, .. }
            | OwnedQuestion::Balance { at, .. }
            | OwnedQuestion::Block { at } => at,
            OwnedQuestion::Json { url, .. } => {
                let fitting = self.web.iter().enumerate();
                let fitting = fitting.filter_map(|(index, web)| Some((web.fits(url)?, index)));
                let what = "no [[facts.web]] of this node's quorate.toml has a prefix for it";
                let (_, index) = fitting.max().ok_or_else(|| Unavailable::new(what))?;
                return Ok((self.chains.len() + index, About::Document(url.clone())));
            }
        };
        let known = self.chains.iter().position(|chain| chain.id == at.chain);
        let source = known.ok_or_else(|| {
            let what = "no [[facts.chain]] of this node's quorate.toml is for chain";
            Unavailable::new(format!("{what} {}", at.chain))
        })?;
        Ok((source, About::State(at.confirmations)))
    }

    fn ask(
        &self,
        source: usize,
        about: &About,
        questions: &[OwnedQuestion],
        until: Instant,
    ) -> Vec<Result<Found, Unavailable>> {
        let results = match about {
            About::State(confirmations) => {
                self.chains.get(source).map(|chain| chain.ask(*confirmations, questions, until))
            }
            About::Document(url) => source
                .checked_sub(self.chains.len())
                .and_then(|index| self.web.get(index))
                .map(|web| web.ask(url, questions, until)),
        };
        results.unwrap_or_default()
    }
}
