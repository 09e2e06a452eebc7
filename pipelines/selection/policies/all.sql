-- Every text that no flag has ruled out is kept, without a judge: what the web said, to look at or to compare with.
SELECT
    uid,
    candidate,
    true AS keep,
    row_number() OVER (PARTITION BY uid ORDER BY candidate) AS rank,
    'all' AS reason
FROM captions
