"""webdataset shards: walking a tar, which members make a sample, captions beside a shard."""
