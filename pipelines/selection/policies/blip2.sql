-- BLIP-2, section 3.4: the web text of an image and its synthetic ones are ranked by CLIP, and the top two are kept.
WITH settings AS (
    SELECT CASE $top WHEN 0 THEN 2 ELSE $top END AS top
),

ranked AS (
    SELECT uid, candidate, first, row_number() OVER (PARTITION BY uid ORDER BY first DESC NULLS LAST, candidate) AS place
    FROM captions
)

SELECT
    uid,
    candidate,
    first IS NOT NULL AND place <= top AS keep,
    CASE WHEN first IS NOT NULL AND place <= top THEN place END AS rank,
    CASE
        WHEN first IS NULL THEN 'no ' || $first
        ELSE $first || ' rank ' || place || CASE WHEN place <= top THEN ' <= ' ELSE ' > ' END || top
    END AS reason
FROM ranked, settings
