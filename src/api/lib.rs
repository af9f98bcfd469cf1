//! Kubernetes kinds of chronik.dev, one per file.
