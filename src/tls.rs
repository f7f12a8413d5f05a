//! One TLS stack for every connection of the program: rustls with ring.

/// Makes ring the process's cryptography. Whoever opens a connection calls it first; calling it again,
/// or after somebody else chose a provider, changes nothing.
pub fn install() {
    // An error only says that a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
