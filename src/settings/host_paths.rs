//! Maps paths of the runner's host, as expressions spell them, to paths inside the action's
//! container.
//!
//! The runner mounts the workspace at `/github/workspace`. It rewrites an input that *starts* with
//! the host's path. It does not rewrite a later line, or a path behind `!`. The hidden input
//! `host-paths` (`v1|<workspace>|<temp>`) gives the host's values of `${{ github.workspace }}` and
//! `${{ runner.temp }}`.
//!
//! Source: actions/runner, src/Runner.Worker/Container/ContainerInfo.cs, TranslateToContainerPath.

/// Pairs of a path on the host and the same place in the container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostPaths(Vec<(String, String)>);

impl HostPaths {
    /// Reads the hidden input. A text of another form maps nothing.
    pub fn parse(text: &str, workspace: &str, temp: &str) -> Self {
        let parts: Vec<&str> = text.split('|').collect();
        let mut pairs = Vec::new();
        if let ["v1", host_workspace, host_temp] = parts.as_slice() {
            pairs.push((*host_workspace, workspace));
            pairs.push((*host_temp, temp));
        }
        let usable = |(from, to): &(&str, &str)| {
            from.starts_with('/') && from.len() > 1 && !to.is_empty() && from != to
        };
        Self(
            pairs
                .into_iter()
                .filter(usable)
                .map(|(from, to)| (from.trim_end_matches('/').to_owned(), to.to_owned()))
                .collect(),
        )
    }

    /// Rewrites each line that is a host path or lies below a host path. A `!` or `file://` may
    /// stand before the path.
    pub fn rewrite(&self, value: &str) -> String {
        value.split('\n').map(|line| self.rewrite_line(line)).collect::<Vec<_>>().join("\n")
    }

    fn rewrite_line(&self, line: &str) -> String {
        let body = line.trim_start_matches(|c: char| c == '!' || c.is_whitespace());
        let body = body.strip_prefix("file://").unwrap_or(body);
        let (before, path) = line.split_at(line.len() - body.len());
        for (from, to) in &self.0 {
            if let Some(rest) = path.strip_prefix(from.as_str())
                && (rest.is_empty()
                    || rest.starts_with('/')
                    || rest.starts_with(char::is_whitespace))
            {
                return format!("{before}{to}{rest}");
            }
        }
        line.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_rewritten() {
        let paths = HostPaths::parse(
            "v1|/home/runner/work/r/r|/home/runner/work/_temp",
            "/github/workspace",
            "/github/runner_temp",
        );
        assert_eq!(
            paths.rewrite(
                "data/a\n/home/runner/work/r/r/b\n ! /home/runner/work/r/r\n\
                 file:///home/runner/work/_temp/s\n/home/runner/work/r/rx"
            ),
            "data/a\n/github/workspace/b\n ! /github/workspace\n\
             file:///github/runner_temp/s\n/home/runner/work/r/rx"
        );
    }

    #[test]
    fn other_text_maps_nothing() {
        for text in ["", "v2|/a|/b", "v1|/a", "v1||", "v1|/|/"] {
            assert_eq!(HostPaths::parse(text, "/w", "/t").rewrite("/a/x"), "/a/x", "{text}");
        }
    }
}
