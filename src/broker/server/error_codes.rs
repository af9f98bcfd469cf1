//! The errors in an answer, for the metrics. Knows where answers keep them, not what they mean.

use kafka_protocol::messages::*;

/// An answer whose errors can be told.
pub(super) trait ErrorCodes {
    /// Tells each code in it, 0 for none as well.
    fn each_code(&self, tell: &mut dyn FnMut(i16));
}

/// Answers with one code for all.
macro_rules! one_code {
    ($($answer:ty),*) => { $(
        impl ErrorCodes for $answer {
            fn each_code(&self, tell: &mut dyn FnMut(i16)) {
                tell(self.error_code);
            }
        }
    )* };
}

/// Answers with a code for each element of a list.
macro_rules! code_of_each {
    ($($answer:ty: $list:ident),*) => { $(
        impl ErrorCodes for $answer {
            fn each_code(&self, tell: &mut dyn FnMut(i16)) {
                self.$list.iter().for_each(|element| tell(element.error_code));
            }
        }
    )* };
}

/// Answers with a code for each element of a list in each element of a list.
macro_rules! code_of_each_inner {
    ($($answer:ty: $list:ident.$inner:ident),*) => { $(
        impl ErrorCodes for $answer {
            fn each_code(&self, tell: &mut dyn FnMut(i16)) {
                self.$list.iter().flat_map(|outer| &outer.$inner).for_each(|element| tell(element.error_code));
            }
        }
    )* };
}

one_code!(
    ApiVersionsResponse,
    DescribeClusterResponse,
    DescribeLogDirsResponse,
    InitProducerIdResponse,
    ListPartitionReassignmentsResponse,
    UnregisterBrokerResponse
);

code_of_each!(
    AlterConfigsResponse: responses,
    CreatePartitionsResponse: results,
    CreateTopicsResponse: topics,
    DeleteTopicsResponse: responses,
    DescribeConfigsResponse: results,
    IncrementalAlterConfigsResponse: responses
);

code_of_each_inner!(
    AlterPartitionReassignmentsResponse: responses.partitions,
    ElectLeadersResponse: replica_election_results.partition_result,
    ListOffsetsResponse: topics.partitions,
    OffsetForLeaderEpochResponse: topics.partitions,
    ProduceResponse: responses.partition_responses
);

impl ErrorCodes for FetchResponse {
    fn each_code(&self, tell: &mut dyn FnMut(i16)) {
        tell(self.error_code);
        self.responses.iter().flat_map(|topic| &topic.partitions).for_each(|found| tell(found.error_code));
    }
}

impl ErrorCodes for MetadataResponse {
    fn each_code(&self, tell: &mut dyn FnMut(i16)) {
        for topic in &self.topics {
            tell(topic.error_code);
            topic.partitions.iter().for_each(|partition| tell(partition.error_code));
        }
    }
}

impl ErrorCodes for DescribeTopicPartitionsResponse {
    fn each_code(&self, tell: &mut dyn FnMut(i16)) {
        for topic in &self.topics {
            tell(topic.error_code);
            topic.partitions.iter().for_each(|partition| tell(partition.error_code));
        }
    }
}
