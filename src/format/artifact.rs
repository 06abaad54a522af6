//! Names of the artifacts that hold pointers.
//!
//! `<prefix>[-adopted]-<attempt>-<8 hex digits>[-<8 hex digits>]`, or a name that the user gave in
//! place of prefix, attempt and digits. Digits at the end are new wherever a name was taken.

use super::Digest;

/// Marks an artifact whose pointer another run had written: whoever asks which run saved a model
/// must not count it.
const ADOPTED: &str = "adopted";

/// A longer name of a model is cut: with all that may follow, an artifact's name has up to 100
/// bytes.
const MAX_MODEL: usize = 60;

/// Returns what the names of a model's artifacts begin with, where the user gave none.
pub fn prefix(model: &str) -> String {
    let safe =
        |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '_' };
    let name: String = model.chars().map(safe).collect();
    if name.len() <= MAX_MODEL {
        return format!("ml-cache-{name}");
    }
    // Names that begin alike stay apart by a part of their digest.
    let digest = Digest::of(model.as_bytes()).short();
    format!("ml-cache-{}-{digest}", &name[..MAX_MODEL - digest.len() - 1])
}

/// Returns the name for a run's artifact.
pub fn name(given: Option<&str>, prefix: &str, adopted: bool, attempt: u64, random: u32) -> String {
    let adopted = if adopted { format!("-{ADOPTED}") } else { String::new() };
    match given {
        Some(given) => format!("{given}{adopted}"),
        None => format!("{prefix}{adopted}-{attempt}-{random:08x}"),
    }
}

/// Returns whether a name is the prefix or was made of it. The artifact of a model whose name only
/// begins in the same way has not such a name.
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

/// Returns whether such an artifact holds what its run saved itself.
pub fn is_own(name: &str, prefix: &str) -> bool {
    is_of(name, prefix) && !name[prefix.len()..].starts_with(&format!("-{ADOPTED}"))
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
