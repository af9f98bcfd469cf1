//! What kind of trouble an error is: the one classification behind event reasons and metric labels.

/// Categories of trouble. Each module's error enum maps its variants to one of these.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Category {
    /// The resource asks for something that is not allowed.
    InvalidSpec,
    /// Another object stands in the way.
    Conflict,
    /// Something the resource refers to is not there.
    NotFound,
    /// No broker answers.
    BrokersUnreachable,
    /// Kubernetes' API refused or failed.
    KubernetesApi,
}

impl Category {
    /// CamelCase, as an event's or condition's reason.
    pub fn reason(self) -> &'static str {
        match self {
            Category::InvalidSpec => "InvalidSpec",
            Category::Conflict => "Conflict",
            Category::NotFound => "NotFound",
            Category::BrokersUnreachable => "BrokersUnreachable",
            Category::KubernetesApi => "KubernetesApi",
        }
    }
}
