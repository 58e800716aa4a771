//! TLS, by rustls: what connections are secured with, made from files and made anew when these change, and the streams.
//!
//! TLS 1.2 (RFC 5246) and 1.3 (RFC 8446), nothing older. Handshakes are made on a runtime ([`ClientTls::wrap`],
//! [`ServerTls::accept`]); what comes of them is a [`TlsStream`] that belongs to none.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, IoSlice, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustix::net::{RecvFlags, recv};
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    CertificateError, ClientConfig, ConfigBuilder, InvalidMessage, RootCertStore, ServerConfig,
    WantsVerifier,
};
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::DialError;

/// The files that a side of TLS is made from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificates of those who sign the other side's. None: for servers, the system's; clients need no certificate.
    pub ca: Option<PathBuf>,
    /// The own certificate with those between it and a CA, and its key.
    pub own: Option<(PathBuf, PathBuf)>,
}

/// How connections to servers are secured. Clones share what [`ClientTls::reload`] changes.
#[derive(Clone)]
pub struct ClientTls {
    files: TlsFiles,
    /// The name in every server's certificate; none: each has its own.
    server_name: Option<ServerName<'static>>,
    config: Arc<ArcSwap<ClientConfig>>,
}

/// How clients' connections are secured. Clones share what [`ServerTls::reload`] changes.
#[derive(Clone)]
pub struct ServerTls {
    files: TlsFiles,
    config: Arc<ArcSwap<ServerConfig>>,
}

impl ClientTls {
    /// `server_name`: what every server's certificate is for; none: the host that is dialled.
    ///
    /// # Errors
    /// What is wrong with the files or the name.
    pub fn new(files: TlsFiles, server_name: Option<&str>) -> Result<Self, String> {
        let server_name = server_name.map(|name| {
            let parsed = ServerName::try_from(name.to_owned());
            parsed.map_err(|_| format!("{name:?} is no name that a certificate could have"))
        });
        Ok(Self {
            config: Arc::new(ArcSwap::from_pointee(client_config(&files)?)),
            server_name: server_name.transpose()?,
            files,
        })
    }

    /// Reads the files again, for connections from now on.
    ///
    /// # Errors
    /// What is wrong with them; all stays as it was.
    pub fn reload(&self) -> Result<(), String> {
        self.config.store(Arc::new(client_config(&self.files)?));
        Ok(())
    }

    pub fn files(&self) -> &TlsFiles {
        &self.files
    }

    /// Makes a connection to `host` a secured one, within `patience`.
    ///
    /// # Errors
    /// In words: which of the many things it was.
    pub async fn wrap(
        &self,
        stream: tokio::net::TcpStream,
        host: &str,
        patience: Duration,
    ) -> Result<tokio_rustls::client::TlsStream<tokio::net::TcpStream>, DialError> {
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => ServerName::try_from(host.to_owned())
                .map_err(|_| DialError::Tls(format!("{host:?} is no name for a certificate")))?,
        };
        let shown = shown_name(&name);
        let connector = TlsConnector::from(self.config.load_full());
        match timeout(patience, connector.connect(name, stream)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(DialError::Tls(explain(&error, &shown))),
            Err(_elapsed) => Err(DialError::Tls(
                "no answer to TLS in time: does it speak it?".to_owned(),
            )),
        }
    }
}

impl ServerTls {
    /// `files.ca`: clients need a certificate that one of these has signed; none: they need none.
    ///
    /// # Errors
    /// What is wrong with the files.
    pub fn new(files: TlsFiles) -> Result<Self, String> {
        Ok(Self {
            config: Arc::new(ArcSwap::from_pointee(server_config(&files)?)),
            files,
        })
    }

    /// As [`ClientTls::reload`].
    ///
    /// # Errors
    /// What is wrong with the files; all stays as it was.
    pub fn reload(&self) -> Result<(), String> {
        self.config.store(Arc::new(server_config(&self.files)?));
        Ok(())
    }

    pub fn files(&self) -> &TlsFiles {
        &self.files
    }

    /// Makes a client's connection a secured one, within `patience`.
    ///
    /// # Errors
    /// In words: which of the many things it was.
    pub async fn accept(
        &self,
        stream: tokio::net::TcpStream,
        patience: Duration,
    ) -> Result<TlsStream, String> {
        let acceptor = TlsAcceptor::from(self.config.load_full());
        let stream = match timeout(patience, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(explain(&error, "it")),
            Err(_elapsed) => return Err(format!("no TLS within {patience:?}")),
        };
        let (stream, session) = stream.into_inner();
        let stream = stream.into_std().map_err(|error| error.to_string())?;
        Ok(TlsStream::new(stream, session.into()))
    }
}

impl TlsFiles {
    /// Every file that there is to read.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        let own = self.own.iter().flat_map(|(cert, key)| [cert, key]);
        self.ca.iter().chain(own).map(PathBuf::as_path)
    }

    fn own(
        &self,
    ) -> Result<Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>, String> {
        let Some((cert, key)) = &self.own else {
            return Ok(None);
        };
        let loaded = PrivateKeyDer::from_pem_file(key);
        let loaded =
            loaded.map_err(|error| format!("no private key in {}: {error}", key.display()));
        Ok(Some((certificates(cert)?, loaded?)))
    }

    fn roots(path: &Path) -> Result<RootCertStore, String> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(path)? {
            let added = roots.add(certificate);
            added.map_err(|error| format!("a certificate in {}: {error}", path.display()))?;
        }
        Ok(roots)
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| format!("cannot read certificates from {}: {error}", path.display()))?;
    if read.is_empty() {
        return Err(format!("no certificate in {}", path.display()));
    }
    Ok(read)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn client_config(files: &TlsFiles) -> Result<ClientConfig, String> {
    let words = |error: rustls::Error| error.to_string();
    let roots = match &files.ca {
        Some(path) => TlsFiles::roots(path)?,
        None => system_roots()?,
    };
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build();
    let verifier = verifier.map_err(|error| error.to_string())?;
    let builder: ConfigBuilder<ClientConfig, WantsVerifier> =
        ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(words)?;
    let builder = builder.with_webpki_verifier(verifier);
    match files.own()? {
        Some((certificates, key)) => builder
            .with_client_auth_cert(certificates, key)
            .map_err(|error| format!("certificate and key: {error}")),
        None => Ok(builder.with_no_client_auth()),
    }
}

fn system_roots() -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err("the system has no certificates of CAs; name a file".to_owned());
    }
    Ok(roots)
}

fn server_config(files: &TlsFiles) -> Result<ServerConfig, String> {
    let Some((certificates, key)) = files.own()? else {
        return Err("a certificate and its key are needed".to_owned());
    };
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = match &files.ca {
        Some(path) => {
            let roots = Arc::new(TlsFiles::roots(path)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider()).build();
            builder.with_client_cert_verifier(verifier.map_err(|error| error.to_string())?)
        }
        None => builder.with_no_client_auth(),
    };
    builder
        .with_single_cert(certificates, key)
        .map_err(|error| format!("certificate and key: {error}"))
}

/// What went wrong, in the words of who has to mend it.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "rustls adds to its errors, and says them in words"
)]
fn explain(error: &io::Error, name: &str) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    match inner {
        Some(rustls::Error::InvalidCertificate(why)) => match why {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "the certificate has expired".to_owned()
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "the certificate is not valid yet".to_owned()
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                format!("the certificate is not for {name}")
            }
            CertificateError::UnknownIssuer => {
                "the certificate is signed by nobody who is trusted".to_owned()
            }
            why => format!("the certificate is not accepted: {why}"),
        },
        Some(rustls::Error::NoCertificatesPresented) => "it has shown no certificate".to_owned(),
        Some(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
            "it does not speak TLS".to_owned()
        }
        Some(rustls::Error::AlertReceived(alert)) => format!("it has refused: {alert:?}"),
        Some(other) => other.to_string(),
        None => error.to_string(),
    }
}

fn shown_name(name: &ServerName<'_>) -> String {
    match name {
        ServerName::DnsName(name) => name.as_ref().to_owned(),
        ServerName::IpAddress(address) => std::net::IpAddr::from(*address).to_string(),
        other => format!("{other:?}"),
    }
}

/// A secured connection that never blocks and belongs to no runtime.
pub struct TlsStream {
    stream: TcpStream,
    session: rustls::Connection,
}

impl TlsStream {
    pub(super) fn new(stream: TcpStream, mut session: rustls::Connection) -> Self {
        session.set_buffer_limit(Some(PENDING_BYTES_MAX));
        Self { stream, session }
    }

    pub(super) fn socket(&self) -> &TcpStream {
        &self.stream
    }

    /// As [`super::Stream::read`]. Less than there was room for: the socket has no more now.
    pub(super) fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        loop {
            match self
                .session
                .reader()
                .read(buf.get_mut(filled..).unwrap_or_default())
            {
                Ok(0) => return Ok(filled),
                Ok(n) => {
                    filled += n;
                    if filled == buf.len() {
                        return Ok(filled);
                    }
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // It is gone without a word: as good as an end.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(filled),
                Err(error) => return Err(error),
            }
            match self.receive() {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && filled > 0 => {
                    return Ok(filled);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// As [`super::Stream::write`]. What has been taken may not have left: see [`Self::has_pending`].
    pub(super) fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.flush()?;
        let mut taken = 0;
        for slice in slices {
            let n = self.session.writer().write(slice)?;
            taken += n;
            if n < slice.len() {
                break;
            }
        }
        match self.flush() {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            Ok(()) | Err(_) => Ok(taken),
        }
    }

    /// Writes what has been taken.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            self.session.write_tls(&mut self.stream)?;
        }
        Ok(())
    }

    /// Whether something has been taken that has not left.
    pub(super) fn has_pending(&self) -> bool {
        self.session.wants_write()
    }

    /// The socket, and what is to be written to it before it is closed.
    pub(super) fn finish(mut self) -> (TcpStream, Vec<u8>) {
        self.session.send_close_notify();
        let mut last = Vec::new();
        while self.session.wants_write() && self.session.write_tls(&mut last).is_ok() {}
        (self.stream, last)
    }

    /// Reads once from the socket, and decrypts.
    fn receive(&mut self) -> io::Result<()> {
        CIPHER_TEXT.with_borrow_mut(|buf| {
            let (_, n) = recv(&self.stream, &mut buf[..], RecvFlags::empty())?;
            let mut bytes = buf.get(..n).unwrap_or_default();
            loop {
                self.session.read_tls(&mut bytes)?;
                let processed = self.session.process_new_packets();
                // An alert says why.
                let _ = self.flush();
                processed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
                if bytes.is_empty() {
                    return Ok(());
                }
            }
        })
    }
}

impl fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TlsStream").field(&self.stream).finish()
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClientTls").field(&self.files).finish()
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ServerTls").field(&self.files).finish()
    }
}

thread_local! {
    /// What has just been read, before it is decrypted: the rest of a record is kept by its session.
    static CIPHER_TEXT: RefCell<Box<[u8]>> = RefCell::new(vec![0; CIPHER_TEXT_BYTES].into());
}

/// One read: a record of the largest size, and a bit.
const CIPHER_TEXT_BYTES: usize = 17 * 1024;

/// Encrypted bytes that wait for room in the socket, for each connection; then no more are taken.
const PENDING_BYTES_MAX: usize = 64 * 1024;
