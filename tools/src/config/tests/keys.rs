//! Keys, in the configuration and in files.

use super::*;
use std::path::PathBuf;

/// A folder with a key file of this text and these permission bits.
fn folder_with_key(text: &[u8], mode: u32) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("east.key"), text, mode);
    folder
}

fn write(path: &PathBuf, text: &[u8], mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn with_key_file(folder: &tempfile::TempDir) -> Result<Config, ConfigError> {
    let text = sa(&[("encryption_key", ""), ("encryption_key_file", "\"east.key\"")]);
    Config::from_text("t.toml", &text, folder.path())
}

#[test]
fn a_key_that_is_not_hex_is_refused_by_the_number_of_the_character() {
    for (key, expected) in [
        ("\"10111\"", "encryption_key has 5 hex digits, an odd number; write two for each byte"),
        ("\"0x10\"", "character 2 of encryption_key is not a hex digit; write 0 to 9 and a to f only"),
        ("\"1011 12\"", "character 5 of encryption_key is not a hex digit; write 0 to 9 and a to f only"),
        ("\"10ü1\"", "character 3 of encryption_key is not a hex digit; write 0 to 9 and a to f only"),
        ("10111213", "encryption_key is an integer; write the key as a string of hex digits"),
        ("[\"10111213\"]", "encryption_key is a list; write the key as a string of hex digits"),
        ("\"1011\"", "encryption key of 2 bytes; aes128gcm16 takes 20 (cipher key, then salt)"),
        ("\"\"", "encryption key of 0 bytes; aes128gcm16 takes 20 (cipher key, then salt)"),
    ] {
        assert_fails(&sa(&[("encryption_key", key)]), &format!("t.toml:6:18: {expected}"));
    }
}

#[test]
fn integrity_keys_come_with_the_suites_that_take_one() {
    let cbc = |integrity| {
        let key = "\"00112233445566778899aabbccddeeff\"";
        sa(&[("suite", "\"aes128-sha1\""), ("encryption_key", key), ("integrity_key", integrity)])
    };
    assert_fails(
        &cbc(""),
        "t.toml:1:1: this [[sa]] has no integrity_key; add 20 bytes in hex for aes128-sha1",
    );
    assert_fails(&cbc("\"00\""), "t.toml:8:17: integrity key of 1 bytes; aes128-sha1 takes 20");
    assert_fails(
        &sa(&[("integrity_key", "\"00\"")]),
        "t.toml:8:17: aes128gcm16 takes no integrity key, its cipher authenticates; remove integrity_key",
    );
}

#[test]
fn a_null_suite_needs_no_encryption_key_and_takes_none() {
    let null = |key| {
        let integrity = "\"0123456789abcdef0123456789abcdef01234567\"";
        sa(&[("suite", "\"null-sha1\""), ("encryption_key", key), ("integrity_key", integrity)])
    };
    assert!(parsed(&null("")).sas[0].params.encryption_key.is_empty());
    assert!(parsed(&null("\"\"")).sas[0].params.encryption_key.is_empty());
    let message = "t.toml:6:18: encryption key of 1 bytes; null-sha1 takes 0 (cipher key, then salt)";
    assert_fails(&null("\"00\""), message);
}

#[test]
fn a_key_file_is_found_from_the_folder_on_and_trimmed() {
    let folder = folder_with_key(format!("\n  {GCM_KEY}\r\n").as_bytes(), 0o600);
    let config = with_key_file(&folder).unwrap();
    assert_eq!(config.sas[0].params.encryption_key.bytes(), hex::decode(GCM_KEY).unwrap());
    assert_eq!(config.notes, [""; 0]);
}

#[test]
fn a_key_file_that_everybody_may_read_leaves_a_note() {
    let folder = folder_with_key(GCM_KEY.as_bytes(), 0o644);
    let path = folder.path().join("east.key");
    let path = path.display();
    let note = format!("t.toml:7:23: every user can read the key file {path}; run: chmod 600 {path}");
    assert_eq!(with_key_file(&folder).unwrap().notes, [note]);
}

#[test]
fn what_is_wrong_with_a_key_file_is_said_at_the_field_that_names_it() {
    for (text, start, end) in [
        (
            &b"1011x"[..],
            "t.toml:7:23: character 5 of the key in ",
            "east.key is not a hex digit; write 0 to 9 and a to f only",
        ),
        (
            b"101",
            "t.toml:7:23: the key in ",
            "east.key has 3 hex digits, an odd number; write two for each byte",
        ),
        (
            b"\xff",
            "t.toml:7:23: the key file ",
            "east.key is not UTF-8 text (byte 1); name a file that holds the key in hex",
        ),
        (
            &[b' '; 5000],
            "t.toml:7:23: the key file ",
            "east.key is larger than 4096 bytes; name a file that holds the key in hex",
        ),
        (b"00", "t.toml:7:23: encryption key of 1 bytes; ", "aes128gcm16 takes 20 (cipher key, then salt)"),
    ] {
        let error = with_key_file(&folder_with_key(text, 0o600)).unwrap_err().to_string();
        assert!(error.starts_with(start) && error.ends_with(end), "{error}");
    }
    let text = sa(&[("encryption_key", ""), ("encryption_key_file", "\"gone.key\"")]);
    let error = parse(&text).unwrap_err().to_string();
    assert!(
        error.starts_with("t.toml:7:23: the key file /nowhere/gone.key cannot be read (No such file"),
        "{error}"
    );
}

#[test]
fn a_key_comes_by_one_field_only() {
    let text = sa(&[("encryption_key_file", "\"east.key\"")]);
    assert_fails(&text, "t.toml:8:23: encryption_key and encryption_key_file are both given; remove one");
    let text = sa(&[("integrity_key", "\"00\""), ("integrity_key_file", "\"east.key\"")]);
    assert_fails(&text, "t.toml:9:22: integrity_key and integrity_key_file are both given; remove one");
}

#[test]
fn a_configuration_with_keys_that_everybody_may_read_leaves_a_note() {
    let folder = folder_with_key(GCM_KEY.as_bytes(), 0o600);
    let path = folder.path().join("c.toml");
    let notes = |text: &str, mode| {
        write(&path, text.as_bytes(), mode);
        Config::read(&path).unwrap().notes
    };
    let shown = path.display();
    let note = format!("{shown}: every user can read this file, and it holds keys; run: chmod 600 {shown}");
    assert_eq!(notes(&sa(&[]), 0o604), [note]);
    assert_eq!(notes(&sa(&[]), 0o640), [""; 0]);
    let text = sa(&[("encryption_key", ""), ("encryption_key_file", "\"east.key\"")]);
    assert_eq!(notes(&text, 0o644), [""; 0]);
}

#[test]
fn a_key_in_any_wrong_place_is_not_shown() {
    let quoted = format!("\"{GCM_KEY}\"");
    let mut texts = Vec::new();
    for field in [
        "name",
        "direction",
        "spi",
        "suite",
        "mode",
        "tunnel",
        "destination",
        "udp_encap",
        "offload",
        "esn",
        "replay_window",
        "sequence",
        "integrity_key",
        "encryption_key_file",
        "keyy",
        "lifetime",
    ] {
        texts.push(sa(&[(field, &quoted)]));
        texts.push(sa(&[("encryption_key", ""), (field, &quoted)]));
        texts.push(sa(&[(field, &format!("0x{GCM_KEY}"))]));
        texts.push(sa(&[(field, &format!("{{ src = {quoted} }}"))]));
    }
    texts.push(sa(&[(GCM_KEY, "1")]));
    texts.push(sa(&[("encryption_key", &format!("\"{GCM_KEY}z0\""))]));
    texts.push(sa(&[("encryption_key", &format!("\"{GCM_KEY}"))]));
    texts.push(sa(&[("encryption_key", GCM_KEY)]));
    texts.push(format!("{}{}", sa(&[]), policy(&[("sa", &quoted)])));
    texts.push(format!("{}{}", sa(&[]), policy(&[("selector", &format!("{{ src = {quoted} }}"))])));
    texts.push(format!("[[{GCM_KEY}]]\n"));
    let refused: Vec<_> = texts.iter().filter_map(|text| parse(text).err()).collect();
    assert!(refused.len() > 60, "{}", refused.len());
    for error in refused {
        let shown = error.to_string();
        assert!(!shown.contains("1112131415") && !shown.contains('\n'), "{shown}");
    }
}
