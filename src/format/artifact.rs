//! The names of artifacts that hold pointers. Source: docs/formats.md, "As an artifact".
//!
//! A name is `<prefix>[-adopted]-<attempt>-<8 hex digits>[-<8 hex digits>]`. A user's name replaces
//! prefix, attempt and digits. If a name is taken, eight more digits follow it.

use super::Digest;

/// Marks the artifact of a run that adopted another run's pointer. Such an artifact does not prove
/// that its run saved the model.
const ADOPTED: &str = "adopted";

/// Characters of a model's name in the prefix. An artifact's name then has at most 100 bytes, up to
/// attempt 9,999.
const MAX_MODEL: usize = 60;

/// Returns the prefix of a model's artifacts, unless the user names them.
///
/// It never has the form of an adopted name.
pub fn prefix(model: &str) -> String {
    let safe =
        |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '_' };
    let name: String = model.chars().map(safe).collect();
    // A part of the digest keeps long names with the same beginning apart.
    let digest = Digest::of(model.as_bytes()).short();
    let most = MAX_MODEL - digest.len() - 1;
    let prefix = match name.len() <= MAX_MODEL {
        true => format!("ml-cache-{name}"),
        false => format!("ml-cache-{}-{digest}", &name[..most]),
    };
    match is_adopted(&prefix) {
        true => format!("ml-cache-{}_{digest}", &name[..name.len().min(most)]),
        false => prefix,
    }
}

/// Returns the name of the artifact. `given` is the user's name, `random` becomes 8 hex digits.
pub fn name(given: Option<&str>, prefix: &str, adopted: bool, attempt: u64, random: u32) -> String {
    let adopted = if adopted { format!("-{ADOPTED}") } else { String::new() };
    match given {
        Some(given) => format!("{given}{adopted}"),
        None => format!("{prefix}{adopted}-{attempt}-{random:08x}"),
    }
}

/// Returns whether the artifact's name is the prefix itself, or [`name`] made it from the prefix.
///
/// It is false for a model whose name only begins with the same text.
pub fn is_of(name: &str, prefix: &str) -> bool {
    let Some(rest) = name.strip_prefix(prefix) else { return false };
    let mut parts = rest.split('-').peekable();
    if parts.next() != Some("") {
        return false;
    }
    parts.next_if_eq(&ADOPTED);
    parts.next_if(|part| {
        (1..8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
    });
    let is_random =
        |part: &str| part.len() == 8 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    parts.by_ref().take(2).all(is_random) && parts.next().is_none()
}

/// Returns whether the name has the form of an adopted pointer's name, whatever its prefix.
///
/// The prefix must not decide this. The adopted name itself could be given as the prefix.
pub fn is_adopted(name: &str) -> bool {
    let is_number = |part: &&str| !part.is_empty() && part.bytes().all(|it| it.is_ascii_hexdigit());
    name.split('-').rev().find(|part| !is_number(part)) == Some(ADOPTED)
}

/// Returns whether the name says that the run saved the pointer itself.
pub fn is_own(name: &str, prefix: &str) -> bool {
    is_of(name, prefix) && !is_adopted(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_of_a_model_is_cut_and_still_its_own() {
        let (kept, long) = ("m".repeat(60), "m".repeat(100));
        assert_eq!(prefix(&kept), format!("ml-cache-{kept}"));
        let cut = prefix(&long);
        assert_eq!(cut, prefix(&long));
        for other in ["m".repeat(99), "m".repeat(47), format!("{}é", "m".repeat(98))] {
            assert_ne!(cut, prefix(&other));
            assert!(!is_of(&super::name(None, &cut, true, 2, 7), &prefix(&other)), "{other}");
        }
        let name = super::name(None, &cut, true, 999, 7);
        assert!(is_of(&name, &cut) && name.len() + "-0badcafe".len() <= 100, "{name}");
    }

    #[test]
    fn an_adopted_name_is_own_under_no_prefix() {
        for (given, attempt) in [(None, 1), (None, 12_345_678), (Some("mine"), 1)] {
            let name = super::name(given, "ml-cache-m", true, attempt, 0x0bad_cafe);
            for name in [name.clone(), format!("{name}-0badcafe")] {
                for end in name.match_indices('-').map(|(end, _)| end).chain([name.len()]) {
                    assert!(!is_own(&name, &name[..end]), "{name} of {}", &name[..end]);
                }
            }
        }
        for name in ["adopted", "x-adopted", "x-adopted-1-0badcafe-0badcafe-0badcafe"] {
            assert!(is_adopted(name), "{name}");
        }
        for name in ["x-adopted-pets", "unadopted", "x-adopted_1", "x-Adopted-y", "1-2", ""] {
            assert!(!is_adopted(name), "{name}");
        }
    }

    #[test]
    fn a_model_named_like_an_adopted_pointer_has_own_artifacts() {
        let long = format!("{}-adopted-1", "m".repeat(49));
        for model in
            ["pets-adopted", "adopted", "x-adopted-7", long.as_str(), &"adopted-".repeat(9)]
        {
            let prefix = prefix(model);
            let (own, adopted) =
                [false, true].map(|adopted| super::name(None, &prefix, adopted, 1, 7)).into();
            assert!(is_own(&own, &prefix) && !is_own(&adopted, &prefix), "{prefix}");
            assert!(prefix.len() <= "ml-cache-".len() + MAX_MODEL, "{prefix}");
        }
    }

    #[test]
    fn names_are_recognised_and_adopted_ones_are_not_own() {
        let prefix = "ml-cache-fraud";
        for (name, of, own) in [
            ("ml-cache-fraud", true, true),
            ("ml-cache-fraud-1-0badcafe", true, true),
            ("ml-cache-fraud-1-0badcafe-0badcafe", true, true),
            ("ml-cache-fraud-0badcafe", true, true),
            ("ml-cache-fraud-adopted-1-0badcafe", true, false),
            ("ml-cache-fraud-adopted", true, false),
            ("ml-cache-fraudulent", false, false),
            ("ml-cache-fraud-detector-1-0badcafe", false, false),
            ("ml-cache-fraud-1-0badcafe-0badcafe-0badcafe", false, false),
            ("other", false, false),
        ] {
            assert_eq!((is_of(name, prefix), is_own(name, prefix)), (of, own), "{name}");
        }
        for adopted in [false, true] {
            assert_eq!(is_own(&super::name(None, prefix, adopted, 2, 7), prefix), !adopted);
            assert_eq!(is_own(&super::name(Some("mine"), prefix, adopted, 2, 7), "mine"), !adopted);
        }
        assert_eq!(super::name(None, prefix, true, 2, 0xbad), "ml-cache-fraud-adopted-2-00000bad");
    }
}
