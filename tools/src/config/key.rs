//! The keys of an SA: hex in the configuration, or in a file that it names.
//!
//! Invariant: no error speaks of more of a key than its length and where it is no hex. Whether the length fits the
//! suite is the business of [`super::sa`].

use crypto_pmd::Key;
use zeroize::Zeroizing;

use super::error::ConfigError;
use super::fields::Fields;
use super::file;

/// Bytes of the largest key file: the longest key takes 128, the rest is room for blanks.
const KEY_FILE_LIMIT: usize = 4096;

/// The two fields that a key may come by.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeyFields {
    pub(super) inline: &'static str,
    pub(super) file: &'static str,
}

pub(super) const ENCRYPTION: KeyFields = KeyFields { inline: "encryption_key", file: "encryption_key_file" };
pub(super) const INTEGRITY: KeyFields = KeyFields { inline: "integrity_key", file: "integrity_key_file" };

/// A key, and the field it came by.
#[derive(Debug)]
pub(super) struct FoundKey {
    pub(super) key: Key,
    pub(super) field: &'static str,
    pub(super) is_inline: bool,
}

impl KeyFields {
    /// The key, where one is given. A file that everybody may read leaves a note.
    pub(super) fn read(
        self,
        fields: &Fields<'_>,
        notes: &mut Vec<String>,
    ) -> Result<Option<FoundKey>, ConfigError> {
        let inline = fields.string(self.inline, "the key as a string of hex digits")?;
        let file = fields.string(self.file, "the path of a file as a string")?;
        let (key, field) = match (inline, file) {
            (None, None) => return Ok(None),
            (Some(_), Some(_)) => {
                let message = format!("{} and {} are both given; remove one", self.inline, self.file);
                return Err(fields.error(self.file, message));
            }
            (Some(text), None) => (decoded(text, self.inline), self.inline),
            (None, Some(path)) => (from_file(path, self.file, fields, notes), self.file),
        };
        let key = key.map_err(|message| fields.error(field, message))?;
        Ok(Some(FoundKey { key, field, is_inline: inline.is_some() }))
    }
}

fn from_file(path: &str, field: &str, fields: &Fields<'_>, notes: &mut Vec<String>) -> Result<Key, String> {
    let path = fields.source().folder().join(path);
    let shown = path.display();
    let secret = file::read(&path, KEY_FILE_LIMIT)
        .map_err(|error| format!("the key file {shown} {error}; name a file that holds the key in hex"))?;
    if secret.is_world_readable {
        let offset = fields.value_offset(field);
        let message = format!("every user can read the key file {shown}; run: chmod 600 {shown}");
        notes.push(fields.source().note(offset, &message));
    }
    decoded(secret.text.trim(), &format!("the key in {shown}"))
}

/// `what` names the key in the message.
fn decoded(text: &str, what: &str) -> Result<Key, String> {
    let digits = text.chars().count();
    if let Some(before) = text.chars().position(|c| !c.is_ascii_hexdigit()) {
        let number = before + 1;
        return Err(format!("character {number} of {what} is not a hex digit; write 0 to 9 and a to f only"));
    }
    if !digits.is_multiple_of(2) {
        return Err(format!("{what} has {digits} hex digits, an odd number; write two for each byte"));
    }
    match hex::decode(text) {
        Ok(bytes) => Ok(Key::new(&Zeroizing::new(bytes))),
        Err(_) => Err(format!("{what} is not hex; write two hex digits for each byte")),
    }
}
