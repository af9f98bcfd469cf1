//! What kind of trouble an error is: the one classification behind event reasons and metric labels. And how an error of
//! Kubernetes is told.

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

/// What Kubernetes answered, for a person: the client's own text repeats it as a structure.
pub fn brief(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_kubernetes_is_told_once() {
        let status = kube::core::Status::failure("configmaps \"a\" is forbidden", "Forbidden").with_code(403);
        let error = kube::Error::Api(status.boxed());
        assert_eq!(brief(&error), "configmaps \"a\" is forbidden");
    }
}
