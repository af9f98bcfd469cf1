//! Brokers take their rack from a label of their node, and replicas are spread over racks.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use chronik_e2e::{admin, wait};
use serde_json::Value;

use crate::figure;
use crate::world::{BROKERS, SETTLE, World, field, get};

const LABEL: &str = "topology.kubernetes.io/zone";

#[test]
#[ignore = "needs the box: make scenarios"]
fn brokers_start_with_the_rack_of_their_node() {
    let world = World::new("racks");
    let began = Instant::now();
    world
        .apply(&format!(
            "apiVersion: chronik.dev/v1alpha1\nkind: BrokerCluster\nmetadata: {{name: demo}}\n\
             spec: {{replicas: 3, storage: {{size: 1Gi}}, rack: {{nodeLabel: {LABEL}}}}}\n"
        ))
        .expect("create the BrokerCluster");
    world.await_condition("brokerclusters/demo", "Ready", "True", SETTLE);
    figure(&format!(
        "three brokers that learn their racks are ready after {:.1} s",
        began.elapsed().as_secs_f32()
    ));
    let known =
        world.await_condition("brokerclusters/demo", "RacksKnown", "True Known", Duration::from_secs(5));
    assert!(known.contains(LABEL), "{known}");

    let look = || {
        let cluster = admin::get(world.admin(1)?, "/v1/cluster")?.json()?;
        let racks = BROKERS.map(|broker| rack_of(&cluster, broker));
        let nodes = BROKERS.map(|broker| zone_of(&world.node_of(broker)));
        wait::holds(racks == nodes, || format!("brokers have {racks:?}, their nodes {nodes:?}"))?;
        let different: BTreeSet<_> = racks.iter().collect();
        wait::holds(different.len() == 3, || format!("{racks:?}"))
    };
    wait::until("each broker has the zone of its node as its rack", Duration::from_secs(5), look);
}

fn rack_of(cluster: &Value, broker: i32) -> String {
    let brokers = cluster["brokers"].as_array().into_iter().flatten();
    let found = brokers.into_iter().find(|found| found["id"] == broker);
    found.and_then(|found| found["rack"].as_str()).unwrap_or_default().to_owned()
}

fn zone_of(node: &str) -> String {
    let node = get(&format!("/api/v1/nodes/{node}")).expect("the node");
    field(&node, "/metadata/labels").expect("labels")[LABEL].as_str().unwrap_or_default().to_owned()
}
