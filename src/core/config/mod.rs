//! Topic configs: which keys exist, which are understood, what they default to and allow.
