//! Which broker to believe: one that is part of the cluster's majority. Pure.

use chronik_core::view::ClusterReport;

/// A broker that answered.
pub(super) struct Answer {
    pub address: String,
    pub report: ClusterReport,
}

/// Whether a broker's own words make it worth asking the others: it sees no metadata leader, or fewer than a
/// majority of the brokers. Such a broker may be cut off from peers that are well.
pub(super) fn is_doubtful(report: &ClusterReport) -> bool {
    report.metadata_leader.is_none() || alive(report) * 2 <= report.brokers.len()
}

/// The broker that knows most; `current` when nobody knows more.
pub(super) fn best<'a>(answers: &'a [Answer], current: Option<&str>) -> Option<&'a Answer> {
    answers.iter().max_by_key(|answer| {
        let report = &answer.report;
        (report.metadata_leader.is_some(), alive(report), current == Some(answer.address.as_str()))
    })
}

fn alive(report: &ClusterReport) -> usize {
    report.brokers.iter().filter(|broker| broker.alive).count()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use chronik_core::ids::BrokerId;
    use chronik_core::metadata::Standing;
    use chronik_core::view::{BrokerReport, PartitionTotals};

    pub(crate) fn report(broker: u32, leader: Option<u32>, alive: &[bool]) -> ClusterReport {
        let brokers = alive.iter().zip(1..).map(|(&alive, id)| BrokerReport {
            id: BrokerId(id),
            alive,
            rack: None,
            listeners: Vec::new(),
            version: String::new(),
            leaders: 0,
            replicas: 0,
            standing: Standing::Settled,
            moving: 0,
            blocked: None,
            disk: String::new(),
        });
        ClusterReport {
            cluster_id: "cluster".parse().unwrap(),
            broker: BrokerId(broker),
            metadata_leader: leader.map(BrokerId),
            metadata_voters: Vec::new(),
            metadata_index: 1,
            brokers: brokers.collect(),
            partitions: PartitionTotals::default(),
            generation: chronik_core::ids::Generation::BIRTH,
            recoveries: Vec::new(),
        }
    }

    fn answers(reports: &[(u32, Option<u32>, &[bool])]) -> Vec<Answer> {
        let answer = |&(broker, leader, alive): &(u32, Option<u32>, &[bool])| Answer {
            address: broker.to_string(),
            report: report(broker, leader, alive),
        };
        reports.iter().map(answer).collect()
    }

    #[test]
    fn a_broker_cut_off_from_its_peers_is_not_believed_while_others_know_more() {
        let cut = answers(&[(1, None, &[true, false, false]), (2, Some(2), &[false, true, true])]);
        assert!(is_doubtful(&cut[0].report) && !is_doubtful(&cut[1].report));
        assert_eq!(best(&cut, Some("1")).unwrap().address, "2");
    }

    #[test]
    fn the_lone_survivor_is_believed_and_no_switch_happens_without_gain() {
        let lone = answers(&[(3, None, &[false, false, true])]);
        assert_eq!(best(&lone, None).unwrap().address, "3");
        let well = answers(&[(1, Some(1), &[true; 3]), (2, Some(1), &[true; 3]), (3, Some(1), &[true; 3])]);
        assert_eq!(best(&well, Some("2")).unwrap().address, "2");
        assert!(best(&[], Some("2")).is_none());
    }
}
