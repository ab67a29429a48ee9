//! From nothing to a running agent, on each of the ways that the README names; and what is shipped for them is sound.

mod compose;
mod debian;
mod image;
mod kubernetes;
mod names;
mod pages;
mod privileges;
mod program;
mod sources;
mod static_binary;
mod systemd;
mod witness;
