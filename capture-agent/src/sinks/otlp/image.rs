//! Names of images, taken apart.

/// What a container was started with: `registry:5000/team/app:1.2@sha256:…`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Image<'a> {
    /// Without tag and digest.
    pub(super) name: &'a str,
    pub(super) tag: Option<&'a str>,
    /// The name with the digest of its manifest.
    pub(super) repo_digest: Option<String>,
}

impl<'a> Image<'a> {
    pub(super) fn parse(text: &'a str) -> Self {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        // A colon before a slash is that of a registry's port. An image that has no name is `sha256:` and its id.
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') && name != "sha256" => (name, Some(tag)),
            _ => (rest, None),
        };
        Self { name, tag, repo_digest: digest.map(|digest| format!("{name}@{digest}")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_told_from_ports_and_digests() {
        for (text, name, tag, digest) in [
            ("nginx", "nginx", None, None),
            ("nginx:1.25", "nginx", Some("1.25"), None),
            ("registry:5000/team/app", "registry:5000/team/app", None, None),
            ("registry:5000/team/app:v1", "registry:5000/team/app", Some("v1"), None),
            ("app@sha256:ab", "app", None, Some("app@sha256:ab")),
            ("registry:5000/app:v1@sha256:ab", "registry:5000/app", Some("v1"), Some("registry:5000/app@sha256:ab")),
            ("sha256:abcdef", "sha256:abcdef", None, None),
            ("", "", None, None),
        ] {
            assert_eq!(Image::parse(text), Image { name, tag, repo_digest: digest.map(str::to_owned) }, "{text}");
        }
    }
}
