//! An image as one file, in two formats at once: an OCI image layout (`image-layout.md` of the OCI image
//! specification 1.0), and beside it the `manifest.json` by which engines before Docker 25 load an archive.

use std::io;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType};

use super::layer::header;

/// The image has no time of its own (the idea of `SOURCE_DATE_EPOCH`): the same content is the same image.
const CREATED: &str = "1970-01-01T00:00:00Z";

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// Content that is known by its digest.
struct Blob {
    content: Vec<u8>,
    digest: String,
}

impl Blob {
    fn new(content: Vec<u8>) -> Self {
        let digest = format!("{:x}", Sha256::digest(&content));
        Self { content, digest }
    }

    fn of_json(value: &Value) -> Self {
        Self::new(value.to_string().into_bytes())
    }

    fn path(&self) -> String {
        format!("blobs/sha256/{}", self.digest)
    }

    fn descriptor(&self, media_type: &str) -> Value {
        json!({ "mediaType": media_type, "digest": format!("sha256:{}", self.digest), "size": self.content.len() })
    }
}

/// The archive of an image with one layer, whose program is `/program`; and the digest of its manifest.
pub fn of(layer: Vec<u8>, program: &str, tags: &[String]) -> io::Result<(Vec<u8>, String)> {
    let layer = Blob::new(layer);
    let config = Blob::of_json(&config(program, &layer));
    let manifest = Blob::of_json(&json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config.descriptor(CONFIG),
        "layers": [layer.descriptor(LAYER)],
    }));
    let named = tags.iter().map(|tag| {
        let mut descriptor = manifest.descriptor(MANIFEST);
        let version = tag.rsplit(':').next().unwrap_or_default();
        let library = if tag.contains('/') { "" } else { "library/" };
        descriptor["annotations"] = json!({
            // containerd's importers read the first, the specification knows the second.
            "io.containerd.image.name": format!("docker.io/{library}{tag}"),
            "org.opencontainers.image.ref.name": version,
        });
        descriptor
    });
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": named.collect::<Vec<_>>() });
    let for_old_engines = json!([{ "Config": config.path(), "RepoTags": tags, "Layers": [layer.path()] }]);

    let mut archive = Builder::new(Vec::new());
    append(&mut archive, "oci-layout", json!({ "imageLayoutVersion": "1.0.0" }).to_string().as_bytes())?;
    append(&mut archive, "index.json", index.to_string().as_bytes())?;
    append(&mut archive, "manifest.json", for_old_engines.to_string().as_bytes())?;
    for blob in [&config, &manifest, &layer] {
        append(&mut archive, &blob.path(), &blob.content)?;
    }
    Ok((archive.into_inner()?, format!("sha256:{}", manifest.digest)))
}

fn append(archive: &mut Builder<Vec<u8>>, path: &str, content: &[u8]) -> io::Result<()> {
    archive.append_data(&mut header(EntryType::Regular, 0o644, content.len()), path, content)
}

fn config(program: &str, layer: &Blob) -> Value {
    json!({
        "architecture": "amd64",
        "os": "linux",
        "created": CREATED,
        "config": {
            "Entrypoint": [format!("/{program}")],
            "Cmd": ["run"],
            "WorkingDir": "/",
            "Labels": {
                "org.opencontainers.image.title": program,
                "org.opencontainers.image.version": env!("CARGO_PKG_VERSION"),
                "org.opencontainers.image.licenses": "MIT OR Apache-2.0",
            },
        },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", layer.digest)] },
        "history": [{ "created": CREATED, "created_by": "cargo xtask image" }],
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::io::Read;

    use super::*;

    fn files(archive: &[u8]) -> HashMap<String, Vec<u8>> {
        let mut archive = tar::Archive::new(archive);
        let entries = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            (entry.path().unwrap().display().to_string(), content)
        });
        entries.collect()
    }

    #[test]
    fn every_digest_is_that_of_what_it_names() {
        let (archive, digest) = of(b"layer".to_vec(), "agent", &["agent:1".into(), "agent:latest".into()]).unwrap();
        let files = files(&archive);
        let blob = |descriptor: &Value| {
            let digest = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
            let content = &files[&format!("blobs/sha256/{digest}")];
            assert_eq!(Blob::new(content.clone()).digest, digest);
            assert_eq!(descriptor["size"], content.len());
            content.clone()
        };
        let index: Value = serde_json::from_slice(&files["index.json"]).unwrap();
        assert_eq!(index["manifests"].as_array().unwrap().len(), 2);
        assert_eq!(index["manifests"][0]["digest"], digest.as_str());
        let manifest: Value = serde_json::from_slice(&blob(&index["manifests"][0])).unwrap();
        assert_eq!(blob(&manifest["layers"][0]), b"layer");
        let config: Value = serde_json::from_slice(&blob(&manifest["config"])).unwrap();
        assert_eq!(config["rootfs"]["diff_ids"][0], manifest["layers"][0]["digest"], "a layer that is not compressed");
        let old: Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
        assert_eq!(files[old[0]["Layers"][0].as_str().unwrap()], b"layer");
        assert_eq!(serde_json::from_slice::<Value>(&files[old[0]["Config"].as_str().unwrap()]).unwrap(), config);
    }

    #[test]
    fn another_layer_is_another_image() {
        let digest = |layer: &[u8]| of(layer.to_vec(), "agent", &["agent:1".into()]).unwrap().1;
        assert_eq!(digest(b"a"), digest(b"a"));
        assert_ne!(digest(b"a"), digest(b"b"));
    }
}
