//! The Docker socket, well and ill: names arrive over each kind of it, and none that misbehaves costs more than names.

mod certificates;
mod ill;
mod peer;
mod spy;
mod subscription;
mod tls;
