//! Entries for people.

use clap::Args;
use serde_json::{Value, json};

use super::{CommandError, Global, Source};
use crate::audit::EntryForm;
use crate::clock::utc;

#[derive(Args, Debug)]
pub(in crate::commands) struct ShowArgs {
    /// Begin with this entry, instead of showing the newest
    #[arg(long, value_name = "NUMBER")]
    from: Option<u64>,
    /// So many at most
    #[arg(long, default_value_t = 20, value_name = "COUNT")]
    limit: u64,
}

pub(super) fn show(global: &Global, args: &ShowArgs) -> Result<(), CommandError> {
    let source = Source::open(global)?;
    let last = source.page(u64::MAX)?.last;
    let newest = last.saturating_sub(args.limit).saturating_add(1);
    let from = args.from.unwrap_or(newest);
    let end = last.min(from.saturating_add(args.limit).saturating_sub(1));
    let (mut next, mut entries) = (from, Vec::new());
    while next <= end && args.limit > 0 {
        let page = source.page(next)?;
        // A gap in a damaged log must not hold us.
        let Some(found) = page.entries.last().map(|entry| entry.number) else { break };
        entries.extend(page.entries.into_iter().take_while(|entry| entry.number <= end));
        next = found.max(next).saturating_add(1);
    }
    let objects: Vec<Value> = entries.iter().map(object).collect();
    let object = json!({ "party": source.whose.party.number(), "last": last, "entries": objects });
    let lines: Vec<String> = entries.iter().map(line).collect();
    let text = match lines.is_empty() {
        true => format!("nothing to show: the log has {last} entries"),
        false => lines.join("\n"),
    };
    global.print(&object, &text);
    Ok(())
}

fn record(form: &EntryForm) -> Option<Value> {
    serde_json::from_str::<Value>(form.record.as_deref()?).ok().filter(Value::is_object)
}

/// The record as the object that it is, where it is one.
fn object(form: &EntryForm) -> Value {
    let record = record(form).unwrap_or_else(|| form.record.clone().into());
    json!({
        "number": form.number, "previous": form.previous, "hash": form.hash, "record": record,
        "record_hex": form.record_hex,
    })
}

/// Time, event, and what tells most; peers' words among it are made harmless.
fn line(form: &EntryForm) -> String {
    let Some(record) = record(form) else { return format!("{:>6}  (no record)", form.number) };
    let field = |name: &str| match record.get(name) {
        Some(Value::String(text)) => Some(plain(text)),
        Some(Value::Null) | None => None,
        Some(other) => Some(plain(&other.to_string())),
    };
    let time = record.get("at").and_then(Value::as_u64).map_or_else(|| "-".to_owned(), utc);
    let event = field("event").unwrap_or_else(|| "-".to_owned());
    let mut line = format!("{:>6}  {time}  {event:<12}", form.number);
    for name in ["rule", "coordinator", "key", "request", "reason"] {
        if let Some(value) = field(name) {
            line.push_str(&format!("  {name} {value}"));
        }
    }
    line
}

fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(record: &str) -> EntryForm {
        let (previous, hash, record) = (String::new(), String::new(), Some(record.to_owned()));
        EntryForm { number: 7, previous, hash, record, record_hex: None }
    }

    #[test]
    fn a_line_says_when_what_and_of_which_key_and_no_terminal_obeys_it() {
        let record = json!({
            "event": "refused", "at": 1_800_000_000, "rule": "va\u{1b}[2Jlue", "key": "ab",
            "request": "cd", "coordinator": 2,
        });
        assert_eq!(
            line(&form(&record.to_string())),
            "     7  2027-01-15 08:00:00Z  refused       rule va[2Jlue  coordinator 2  key ab  request cd"
        );
        assert_eq!(line(&form("{}")), "     7  -  -           ");
        assert_eq!(line(&form("accepted")), "     7  (no record)");
    }
}
