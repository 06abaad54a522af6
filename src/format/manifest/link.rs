//! Where the links of a model lead.

use super::Link;

/// A chain of more links than this leads nowhere. Linux has the same limit.
const MAX_HOPS: usize = 40;

impl Link {
    /// Returns the path to which the link leads in the end, relative to the workspace; empty for
    /// the workspace itself. It follows the other `links` of the model, sorted by their paths.
    /// Returns `None` if the link leads in a circle.
    pub fn end(&self, links: &[Self]) -> Option<String> {
        let mut at = self.place();
        for _ in 0..MAX_HOPS {
            let Some((next, rest)) = crossing(links, &at) else { return Some(at) };
            at = match (next.place(), rest) {
                (path, "") => path,
                (path, rest) if path.is_empty() => rest.to_owned(),
                (path, rest) => format!("{path}/{rest}"),
            };
        }
        None
    }

    /// Returns the path that the link names. [`super::check_link`] allows no link that leads out of
    /// the tree.
    fn place(&self) -> String {
        let mut parts: Vec<&str> = self.path.split('/').collect();
        parts.pop();
        for component in self.target.split('/') {
            match component {
                "" | "." => {}
                ".." => drop(parts.pop()),
                name => parts.push(name),
            }
        }
        parts.join("/")
    }
}

/// Returns the link at the path or above it, and the rest of the path.
fn crossing<'a, 'b>(links: &'a [Link], path: &'b str) -> Option<(&'a Link, &'b str)> {
    let ends = path.match_indices('/').map(|(end, _)| end).chain([path.len()]);
    ends.into_iter().find_map(|end| {
        let found = links.binary_search_by(|link| link.path.as_str().cmp(&path[..end])).ok()?;
        Some((&links[found], path[end..].trim_start_matches('/')))
    })
}
