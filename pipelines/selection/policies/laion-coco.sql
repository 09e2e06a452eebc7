-- LAION-COCO: of the many captions of an image, one CLIP chooses a short list of five, and another the best one of these.
-- Texts that came along do not take part.
WITH settings AS (
    SELECT CASE $top WHEN 0 THEN 1 ELSE $top END AS top
),

listed AS (
    SELECT
        *,
        source = 'synthetic' AND first IS NOT NULL AND second IS NOT NULL AS takes_part,
        row_number() OVER (PARTITION BY uid, takes_part ORDER BY first DESC, candidate) AS place,
        takes_part AND place <= $shortlist AS is_listed
    FROM captions
),

ranked AS (
    SELECT *, row_number() OVER (PARTITION BY uid, is_listed ORDER BY second DESC, candidate) AS final
    FROM listed
)

SELECT
    uid,
    candidate,
    is_listed AND final <= top AS keep,
    CASE WHEN is_listed AND final <= top THEN final END AS rank,
    CASE
        WHEN source <> 'synthetic' THEN 'not synthetic'
        WHEN first IS NULL THEN 'no ' || $first
        WHEN second IS NULL THEN 'no ' || $second
        WHEN NOT is_listed THEN $first || ' rank ' || place || ' > ' || $shortlist
        ELSE $second || ' rank ' || final || CASE WHEN final <= top THEN ' <= ' ELSE ' > ' END || top
    END AS reason
FROM ranked, settings
