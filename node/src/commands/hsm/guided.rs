//! `quorate hsm init`: `quorate init` for a person, who is asked for what was not given. It makes nothing by
//! itself: what it asks for are that command's options.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};

use clap::{Args, Parser};
use quorate_hsm::pkcs11;

use super::super::init::{self, InitArgs};
use super::super::{CommandError, Global};
use crate::sealing::SealingError;

#[derive(Args, Debug)]
pub(in crate::commands) struct GuidedArgs {
    /// Options of `quorate init`, for what is not to be asked
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTIONS OF INIT")]
    given: Vec<String>,
}

/// The options of `quorate init`, alone.
#[derive(Parser, Debug)]
#[command(name = "quorate hsm init", no_binary_name = true)]
struct Words {
    #[command(flatten)]
    init: InitArgs,
}

pub(super) fn init(global: &Global, args: &GuidedArgs) -> Result<(), CommandError> {
    let mut asking = Asking::begin(&args.given)?;
    asking.for_option("--party", "This party's number in its group, 1 to 255")?;
    asking.for_option("--name", "Its name for people")?;
    asking.for_option("--listen", "Where it listens for the other parties, IP:PORT")?;
    let seals = "What seals the shares";
    let kinds = [
        ("pkcs11", "a PKCS#11 token"),
        ("yubihsm", "a YubiHSM 2 behind its connector"),
        ("software", "an emulation in a file: it is NOT an HSM"),
    ];
    asking.for_choice("--hsm", seals, &kinds.map(|(value, text)| (value.into(), text.into())))?;
    match asking.value("--hsm").as_deref() {
        Some("pkcs11") => asking.for_token()?,
        Some("yubihsm") => asking.for_option("--serial", "The device's serial number")?,
        _ => {}
    }
    let words = Words::try_parse_from(&asking.words)
        .map_err(|error| CommandError::Usage(error.to_string()))?;
    let command = asking.words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
    let folder = global.place();
    asking.say(&format!(
        "\nThis makes a key-encryption key with its canary, an identity key, and the node's folder {}.\n\
         The same without questions:\n  quorate --folder {} init {command}\n",
        folder.path().display(),
        folder.path().display(),
    ))?;
    if asking.line("Go ahead? (yes/no)")? != "yes" {
        return Err(CommandError::Usage("nothing was made".to_owned()));
    }
    init::init(global, &words.init)
}

/// As a shell would read it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    match word.chars().all(plain) && !word.is_empty() {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// A conversation at the terminal, whatever standard input and output are.
struct Asking {
    terminal: fs::File,
    answers: BufReader<fs::File>,
    /// What was given and answered.
    words: Vec<String>,
}

fn broken(error: io::Error) -> CommandError {
    CommandError::local("asking at the terminal", error)
}

impl Asking {
    fn begin(given: &[String]) -> Result<Self, CommandError> {
        let open = || fs::File::options().read(true).write(true).open("/dev/tty");
        let terminal = open().map_err(|_| {
            CommandError::Usage(
                "there is no terminal to ask at: give --party, --name, --listen, --hsm and what the \
                 HSM needs to `quorate init`"
                    .to_owned(),
            )
        })?;
        let answers = BufReader::new(terminal.try_clone().map_err(broken)?);
        Ok(Self { terminal, answers, words: given.to_vec() })
    }

    fn say(&mut self, text: &str) -> Result<(), CommandError> {
        self.terminal.write_all(text.as_bytes()).map_err(broken)
    }

    /// One line, which is not empty.
    fn line(&mut self, question: &str) -> Result<String, CommandError> {
        loop {
            self.say(&format!("{question}: "))?;
            let mut line = String::new();
            if self.answers.read_line(&mut line).map_err(broken)? == 0 {
                return Err(CommandError::Usage("nothing was made: the answers ended".to_owned()));
            }
            if !line.trim().is_empty() {
                return Ok(line.trim().to_owned());
            }
        }
    }

    /// The value of an option that was given or answered.
    fn value(&self, option: &str) -> Option<String> {
        let assigned = format!("{option}=");
        self.words.iter().enumerate().find_map(|(place, word)| match word.strip_prefix(&assigned) {
            Some(value) => Some(value.to_owned()),
            None => (word == option).then(|| self.words.get(place + 1).cloned())?,
        })
    }

    fn answer(&mut self, option: &str, value: String) {
        self.words.extend([option.to_owned(), value]);
    }

    fn for_option(&mut self, option: &str, question: &str) -> Result<(), CommandError> {
        if self.value(option).is_none() {
            let value = self.line(question)?;
            self.answer(option, value);
        }
        Ok(())
    }

    /// One of these, by its number or as it is; something else may be typed too.
    fn for_choice(
        &mut self,
        option: &str,
        question: &str,
        choices: &[(String, String)],
    ) -> Result<(), CommandError> {
        if self.value(option).is_some() {
            return Ok(());
        }
        for (number, (value, text)) in choices.iter().enumerate() {
            self.say(&format!("  {}  {value}: {text}\n", number + 1))?;
        }
        let typed = self.line(question)?;
        let chosen = typed.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
        let chosen = chosen.and_then(|place| choices.get(place));
        self.answer(option, chosen.map_or(typed, |(value, _)| value.clone()));
        Ok(())
    }

    /// Library and token, from what there is.
    fn for_token(&mut self) -> Result<(), CommandError> {
        let named = ["--uri", "--token-serial", "--token"];
        if self.value("--uri").is_some() {
            return Ok(());
        }
        let found: Vec<_> = libraries().iter().map(|path| choice(path)).collect();
        self.for_choice("--module", "The PKCS#11 library: a number, or its path", &found)?;
        if named.iter().any(|option| self.value(option).is_some()) {
            return Ok(());
        }
        let module = self.value("--module").unwrap_or_default();
        let tokens = pkcs11::tokens(Path::new(&module)).map_err(SealingError::Hsm)?;
        let tokens = tokens.into_iter();
        let tokens: Vec<_> =
            tokens.map(|token| (token.label, format!("serial {}", token.serial))).collect();
        self.for_choice("--token", "The token: a number, or its label", &tokens)
    }
}

fn choice(path: &Path) -> (String, String) {
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    (path.display().to_string(), name)
}

/// Libraries of PKCS#11 where Debian and its likes put them.
fn libraries() -> Vec<PathBuf> {
    const NAMES: [&str; 6] = [
        "softhsm/libsofthsm2.so",
        "libsofthsm2.so",
        "pkcs11/yubihsm_pkcs11.so",
        "opensc-pkcs11.so",
        "libcs_pkcs11_R3.so",
        "libcryptoki.so",
    ];
    let below = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let folders = below.map(|entry| entry.path()).filter(|path| path.is_dir());
    let fixed = ["/usr/lib", "/usr/local/lib", "/usr/lib64"].map(PathBuf::from);
    let places = fixed.into_iter().chain(folders);
    let mut found: Vec<PathBuf> = places
        .flat_map(|folder| NAMES.map(|name| folder.join(name)))
        .filter_map(|path| path.canonicalize().ok())
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}
