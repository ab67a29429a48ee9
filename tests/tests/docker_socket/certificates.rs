//! Certificates for one test.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, date_time_ymd,
};
use tempfile::TempDir;

/// A CA and the files that it signed, in a directory that is gone with it.
pub struct Authority {
    directory: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A CA, with what dockerd takes of it and what a client that it trusts does.
    pub fn new() -> Result<Self> {
        Self::for_host("127.0.0.1")
    }

    /// As [`Authority::new`], and the server's certificate is for `host`.
    pub fn for_host(host: &str) -> Result<Self> {
        let directory = tempfile::tempdir().context("no directory for certificates")?;
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "a CA of a test");
        fs::write(directory.path().join("ca.pem"), params.self_signed(&key)?.pem())?;
        let authority = Self { directory, issuer: Issuer::new(params, key) };
        authority.sign("server-", host, ExtendedKeyUsagePurpose::ServerAuth, 2100)?;
        authority.sign("", "client", ExtendedKeyUsagePurpose::ClientAuth, 2100)?;
        Ok(authority)
    }

    /// Makes the server's certificate anew, long expired.
    pub fn expire_server(&self) -> Result<()> {
        self.sign("server-", "127.0.0.1", ExtendedKeyUsagePurpose::ServerAuth, 2001)
    }

    /// Makes the client's certificate anew, long expired.
    pub fn expire_client(&self) -> Result<()> {
        self.sign("", "client", ExtendedKeyUsagePurpose::ClientAuth, 2001)
    }

    /// Makes the client's certificate anew.
    pub fn renew_client(&self) -> Result<()> {
        self.sign("", "client", ExtendedKeyUsagePurpose::ClientAuth, 2100)
    }

    /// Where the files are, named as Docker names them.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// One of them.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory().join(name)
    }

    fn sign(&self, prefix: &str, host: &str, purpose: ExtendedKeyUsagePurpose, until: i32) -> Result<()> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(vec![host.to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, host);
        params.extended_key_usages = vec![purpose];
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        fs::write(self.file(&format!("{prefix}cert.pem")), params.signed_by(&key, &self.issuer)?.pem())?;
        fs::write(self.file(&format!("{prefix}key.pem")), key.serialize_pem())?;
        Ok(())
    }
}
