"""Reads topics from their beginning with a Kafka client that is all Python, and prints each record as JSON.

  consume.py BROKERS COUNT TOPIC…    ends after COUNT records, or 20 s without one
"""

import base64
import json
import sys

from kafka import KafkaConsumer

brokers, count, *topics = sys.argv[1:]
consumer = KafkaConsumer(
    *topics,
    bootstrap_servers=brokers.split(","),
    auto_offset_reset="earliest",
    enable_auto_commit=False,
    group_id=None,
    consumer_timeout_ms=20_000,
    # librdkafka's mock of a cluster does not say what newer clients ask for.
    api_version=(2, 1),
)
left = int(count)
for record in consumer if left else ():
    print(
        json.dumps(
            {
                "topic": record.topic,
                "partition": record.partition,
                "offset": record.offset,
                "timestamp": record.timestamp,
                "key": (record.key or b"").decode(),
                "value": base64.b64encode(record.value or b"").decode(),
                "headers": {name: value.decode() for name, value in record.headers},
            }
        )
    )
    left -= 1
    if not left:
        break
