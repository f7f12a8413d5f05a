//! The VOD client.

pub mod sign;
