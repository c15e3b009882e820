//! Exports: a line of JSON for each entry, and last the signed head with the identity that signed it.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, BufWriter, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::{
    AuditError, Check, Checked, CommandError, CountersignedForm, ExportLine, HeadForm,
    IdentityPublic, Membership, Source, Whose, read_countersigned,
};

/// No line is longer: JSON makes six bytes of one at most, and some fields are around it.
const MAX_LINE: u64 = 6 * crate::store::MAX_AUDIT_RECORD as u64 + 4096;

fn failed(path: &Path, error: &io::Error) -> CommandError {
    AuditError::File { path: path.to_owned(), reason: error.to_string() }.into()
}

/// Checks and writes. If the check fails, what was written is removed: it would be no proof of anything.
pub(super) fn write(source: &Source, path: &Path) -> Result<Checked, CommandError> {
    let file = File::options().write(true).create_new(true).mode(0o600).open(path);
    let file = file.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            CommandError::Exists(format!("{} exists: name another file", path.display()))
        }
        _ => failed(path, &error),
    })?;
    let written = write_all(source, &mut BufWriter::new(file), path);
    if written.is_err() {
        // Its own failure would only hide the first one.
        let _ = std::fs::remove_file(path);
    }
    written
}

fn write_all(
    source: &Source,
    file: &mut BufWriter<File>,
    path: &Path,
) -> Result<Checked, CommandError> {
    let mut put = |line: &ExportLine| -> Result<(), CommandError> {
        let text = serde_json::to_string(line).map_err(io::Error::other);
        text.and_then(|text| writeln!(file, "{text}")).map_err(|error| failed(path, &error))
    };
    let checked = source.walk(|page| {
        page.entries.iter().try_for_each(|entry| put(&ExportLine::Entry(entry.clone())))
    })?;
    let signed = checked.signed.as_ref();
    let signed_head = signed.map(|head| Box::new(HeadForm::new(head, &source.whose)));
    let countersigned = checked.countersigned.iter();
    let countersigned =
        countersigned.map(|one| CountersignedForm::new(one, &source.whose)).collect();
    put(&ExportLine::End { signed_head, countersigned })?;
    let synced = file.flush().and_then(|()| file.get_ref().sync_all());
    synced.map_err(|error| failed(path, &error))?;
    Ok(checked)
}

/// Gives each line with its number to `take`.
fn lines(
    path: &Path,
    mut take: impl FnMut(u64, ExportLine) -> Result<(), AuditError>,
) -> Result<(), CommandError> {
    let file = File::open(path).map_err(|error| failed(path, &error))?;
    let (mut reader, mut buffer) = (BufReader::new(file), Vec::new());
    for line in 1.. {
        buffer.clear();
        let mut bounded = reader.by_ref().take(MAX_LINE);
        let read = bounded.read_until(b'\n', &mut buffer);
        if read.map_err(|error| failed(path, &error))? == 0 {
            break;
        }
        let parsed = buffer.strip_suffix(b"\n").and_then(ExportLine::parse);
        let what = "it is neither an entry nor the signed head";
        take(line, parsed.ok_or(AuditError::Line { line, what })?)?;
    }
    Ok(())
}

/// Checks an export with nothing but the identity that must have signed it.
pub(super) fn verify(
    path: &Path,
    identity: IdentityPublic,
    group: Option<&Membership>,
) -> Result<(Checked, Whose), CommandError> {
    // The head is last, and needed first.
    let mut end = None;
    lines(path, |line, read| {
        if end.is_some() {
            let what = "nothing may follow the signed head";
            return Err(AuditError::Line { line, what });
        }
        if let ExportLine::End { signed_head, countersigned } = read {
            end = Some((line, signed_head, countersigned));
        }
        Ok(())
    })?;
    let Some((line, Some(form), countersigned)) = end else {
        return Err(AuditError::NoHead.into());
    };
    let what = "a field of the signed head is malformed";
    let (head, whose) = form.read().ok_or(AuditError::Line { line, what })?;
    // Not whom the file names: whom the auditor trusts.
    let whose = Whose { identity, ..whose };
    let countersigned = read_countersigned(&countersigned, group)?;
    let mut check = Check::new(&whose, Some(head), countersigned)?;
    lines(path, |line, read| match read {
        ExportLine::Entry(form) => {
            let what = "a field is malformed";
            check.add(&form.entry().ok_or(AuditError::Line { line, what })?)
        }
        ExportLine::End { .. } => Ok(()),
    })?;
    Ok((check.finish()?, whose))
}
