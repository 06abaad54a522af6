//! How the files of two lists relate, before any of the files exists.

use super::{DEFAULT_EXCLUDES, Pattern, Patterns, Segment, Token, char_of};

impl Patterns {
    /// Returns the includes of the list.
    pub fn includes(&self) -> impl Iterator<Item = &Pattern> {
        self.0.iter().filter(|pattern| !pattern.negate)
    }

    /// Returns whether this list selects every file that the include can take.
    ///
    /// `true` is certain; `false` may be wrong. The default excludes do not count, because nobody
    /// writes a model into `__pycache__`.
    pub fn covers(&self, include: &Pattern) -> bool {
        let root: Vec<&str> = include
            .segments
            .iter()
            .map_while(|segment| match segment {
                Segment::Literal(literal) => Some(literal.as_str()),
                _ => None,
            })
            .collect();
        let takes_all = |pattern: &Pattern| {
            !pattern.negate
                && (pattern.takes_all_below(&root) || pattern.segments == include.segments)
        };
        let takes_any = |pattern: &Pattern| {
            pattern.negate
                && !DEFAULT_EXCLUDES.contains(&pattern.text.as_str())
                && (pattern.takes_all_below(&root) || pattern.may_match_below(&root))
        };
        let last = self.0.iter().rposition(takes_all);
        last.is_some_and(|last| !self.0[last..].iter().any(takes_any))
    }

    /// Returns whether this list selects new files that the include would take for `other`.
    pub fn meets(&self, include: &Pattern, other: &Self) -> bool {
        include.examples().iter().any(|path| {
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            include.takes(&path) && other.selects(&path) && self.selects(&path)
        })
    }

    /// Returns whether an include begins with exactly this path, without any wildcard.
    pub fn leads_through(&self, path: &[&str]) -> bool {
        self.includes().any(|include| {
            let is = |(segment, component): (&Segment, &&str)| {
                matches!(segment, Segment::Literal(literal) if literal == component)
            };
            include.segments.len() >= path.len() && include.segments.iter().zip(path).all(is)
        })
    }

    /// Returns whether this list selects the path, or a new file below it.
    pub fn reaches(&self, path: &[&str]) -> bool {
        self.selects(path) || self.selects(&[path, &[NEW]].concat())
    }
}

/// The name of a file that no list names.
const NEW: &str = "new-file";

impl Pattern {
    /// Returns the pattern under another name of the directory `from`; `None` if it may take files
    /// outside of that directory.
    pub fn moved(&self, from: &[&str], to: &[&str]) -> Option<Self> {
        let literal = |name: &str| Segment::Literal(name.to_owned());
        let is_below = self.segments.len() >= from.len()
            && self.segments.iter().zip(from).all(|(segment, name)| *segment == literal(name));
        is_below.then(|| {
            let rest = self.segments[from.len()..].iter().cloned();
            let segments = to.iter().map(|name| literal(name)).chain(rest).collect();
            Self { segments, ..self.clone() }
        })
    }

    /// Returns paths that the pattern takes: the shortest, and a file below it. A pattern with a
    /// negated class may take none of them.
    fn examples(&self) -> [Vec<String>; 2] {
        let path: Vec<String> = self
            .segments
            .iter()
            .filter_map(|segment| match segment {
                Segment::Globstar => None,
                Segment::Literal(literal) => Some(literal.clone()),
                Segment::Wild(tokens) => Some(tokens.iter().map(Token::example).collect()),
            })
            .collect();
        let below = [path.as_slice(), &[NEW.to_owned()]].concat();
        [path, below]
    }
}

impl Token {
    fn example(&self) -> String {
        match self {
            Self::Unit(unit) => char_of(*unit).to_string(),
            Self::Class { negate: false, ranges } => {
                ranges.first().map(|(low, _)| char_of(*low).to_string()).unwrap_or_default()
            }
            Self::Any | Self::Class { .. } => "x".to_owned(),
            Self::Star => NEW.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn parse(text: &str) -> Patterns {
        Patterns::parse(text, Path::new("/w")).unwrap().with_default_excludes()
    }

    #[test]
    fn what_is_certain_is_told_from_what_is_likely() {
        for (model, inputs, covers, meets) in [
            ("models/", "**", true, true),
            ("models/", "data/**\n.", true, true),
            ("models/", "models/**", true, true),
            ("models", "models/", true, true),
            ("models/model.bin", "models/", true, true),
            ("models/model.bin", "**/*.bin", true, true),
            ("models/*.bin", "**", true, true),
            ("models/*.bin", "models/*.bin", true, true),
            ("**", "**", true, true),
            ("models/", "!models\n**", true, true),
            ("models/", "**\n!data/raw/**", true, true),
            // These depend on the names that the training chooses.
            ("models/", "**\n!**/*.bin", false, true),
            ("models/", "**\n!models/cache", false, true),
            ("models/*.bin", "models/**/*.bin", false, true),
            ("**/*.onnx", "**\n!x/**", false, true),
            (".", "data/**", false, false),
            // The usual inputs.
            ("models/", "**\n!models/**", false, false),
            ("models/", "**\n!models", false, false),
            ("models/model.bin", "**\n!**/*.bin", false, false),
            ("models/*.bin", "**\n!*/*.bin", false, false),
            ("models/", "src/**\ndata/**", false, false),
            ("models/", "**/*.py\n**/*.yaml", false, false),
            ("models/", "models/README.md", false, false),
            ("models/weights.bin", "models/**/*.py", false, false),
            ("models/", "models2/**", false, false),
            ("models/", "", false, false),
        ] {
            let (model, inputs) = (parse(model), parse(inputs));
            let include = model.includes().next().unwrap();
            let shown = format!("{:?} in {:?}", model.0[0].text, inputs.0);
            assert_eq!(inputs.covers(include), covers, "{shown}");
            assert_eq!(inputs.meets(include, &model), meets, "{shown}");
        }
        let model = parse("models/\n!models/new-file");
        assert!(!parse("**").meets(model.includes().next().unwrap(), &parse("!x\nmodels/*.txt")));
    }

    #[test]
    fn a_pattern_moves_with_the_directory_that_holds_its_files() {
        for (model, from, wanted) in [
            ("models/", "models", Some("data/out")),
            ("models/*.bin", "models", Some("data/out/x.bin")),
            ("models/v1/model.bin", "models", Some("data/out/v1/model.bin")),
            ("models/", "models/v1", None),
            ("*/model.bin", "models", None),
            ("reports/", "models", None),
        ] {
            let model = parse(model);
            let from: Vec<&str> = from.split('/').collect();
            let moved = model.includes().next().unwrap().moved(&from, &["data", "out"]);
            let path: Vec<&str> = wanted.unwrap_or_default().split('/').collect();
            assert_eq!(moved.is_some(), wanted.is_some());
            assert!(moved.is_none_or(|moved| moved.takes_all_below(&path)), "{path:?}");
        }
    }

    #[test]
    fn a_list_reaches_a_file_or_a_directory() {
        for (inputs, path, reaches) in [
            ("data/**", "data/raw", true),
            ("data/*", "data/raw", true),
            ("data/raw/*", "data/raw", true),
            ("data/*.dvc", "data/raw", false),
            ("data/**/*.dvc", "data/raw", false),
            ("data/**\n!data/raw", "data/raw", false),
        ] {
            let path: Vec<&str> = path.split('/').collect();
            assert_eq!(parse(inputs).reaches(&path), reaches, "{inputs:?}");
        }
    }
}
