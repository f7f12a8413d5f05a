use super::conform::{Conformed, Limits, conform, satisfies};
use super::*;

mod broken;
mod conforming;
mod drawn;
mod formats;
mod memory;
mod mutated;

const CAPS: Caps = Caps { bytes: 40 << 20, pixels: 40_000_000 };
