#!/bin/bash
# Puts the jars of real Apache Kafka into target/kafka/libs and small wrappers into target/kafka/bin.
set -euo pipefail
SRC=$(cd "$(dirname "$0")" && pwd -P)
KAFKA=$(cd "$SRC/../.." && pwd -P)/target/kafka

die() { echo "kafka-tools: $*" >&2; exit 1; }
command -v mvn >/dev/null || die "needs Maven (mvn), which fetches Kafka's jars; on Debian: apt-get install maven"
command -v java >/dev/null || die "needs Java 17 or newer; on Debian: apt-get install openjdk-17-jre-headless"

# Fetched aside and renamed: a run killed half-way leaves no half set of jars behind.
fetch() {
  local version t0=$SECONDS; version=$(sed -n 's/.*<kafka.version>\(.*\)<.*/\1/p' "$SRC/pom.xml")
  echo "==> fetch Apache Kafka $version from Maven Central"
  rm -rf "$KAFKA/libs.new"
  mvn -q -B -f "$SRC/pom.xml" dependency:copy-dependencies -DoutputDirectory="$KAFKA/libs.new" -DincludeScope=runtime \
    </dev/null >"$KAFKA/mvn.log" 2>&1 || { tail -20 "$KAFKA/mvn.log" >&2; die "Maven failed: see $KAFKA/mvn.log"; }
  rm -rf "$KAFKA/libs"
  mv "$KAFKA/libs.new" "$KAFKA/libs"
  echo "    $(ls "$KAFKA/libs" | wc -l) jars in $KAFKA/libs: $((SECONDS - t0)) s"
}

# Kafka's own names of variables: KAFKA_HEAP_OPTS and KAFKA_OPTS; KAFKA_LOG_LEVEL is ours (INFO shows what a tool does).
wrapper() {
  local name=$1 class=$2 jvm=$3
  cat >"$KAFKA/bin/$name" <<W
#!/bin/sh
exec java \${KAFKA_HEAP_OPTS:--Xmx512M} $jvm -Dlog4j2.configurationFile=$SRC/log4j2.xml \\
  -Dkafka.log.level=\${KAFKA_LOG_LEVEL:-WARN} \${KAFKA_OPTS:-} -cp "$KAFKA/libs/*" $class "\$@"
W
  chmod +x "$KAFKA/bin/$name"
}

wrappers() {
  # What runs for a second starts faster without the optimising compiler; what runs for long needs it.
  local brief="-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
  local long="-server -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -XX:InitiatingHeapOccupancyPercent=35 -XX:+ExplicitGCInvokesConcurrent"
  local tools=org.apache.kafka.tools
  rm -rf "${KAFKA:?}/bin"; mkdir -p "$KAFKA/bin"
  wrapper kafka-topics $tools.TopicCommand "$brief"
  wrapper kafka-configs kafka.admin.ConfigCommand "$brief"
  wrapper kafka-get-offsets $tools.GetOffsetShell "$brief"
  wrapper kafka-leader-election $tools.LeaderElectionCommand "$brief"
  wrapper kafka-reassign-partitions $tools.reassign.ReassignPartitionsCommand "$brief"
  wrapper kafka-broker-api-versions $tools.BrokerApiVersionsCommand "$brief"
  wrapper kafka-consumer-groups $tools.consumer.group.ConsumerGroupCommand "$brief"
  wrapper kafka-console-producer $tools.ConsoleProducer "$brief"
  wrapper kafka-console-consumer $tools.consumer.ConsoleConsumer "$brief"
  wrapper kafka-verifiable-producer $tools.VerifiableProducer "$long"
  wrapper kafka-verifiable-consumer $tools.VerifiableConsumer "$long"
  wrapper kafka-producer-perf-test $tools.ProducerPerformance "$long"
  wrapper kafka-consumer-perf-test $tools.ConsumerPerformance "$long"
  wrapper kafka-e2e-latency $tools.EndToEndLatency "$long"
  wrapper kafka-storage kafka.tools.StorageTool "$brief"
  wrapper kafka-server-start kafka.Kafka "$long"
}

stamp=$(cat "$SRC/pom.xml" | sha256sum)
mkdir -p "$KAFKA"
if [ "$(cat "$KAFKA/stamp" 2>/dev/null)" != "$stamp" ] || [ ! -d "$KAFKA/libs" ]; then
  rm -f "$KAFKA/stamp"
  fetch
  echo "$stamp" >"$KAFKA/stamp"
fi
# Always: they cost nothing, and name this folder.
wrappers
echo "    Apache Kafka's tools are in $KAFKA/bin"
