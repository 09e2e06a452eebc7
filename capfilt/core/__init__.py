"""The ground floor: tables, settings, errors, storage, chunks. No torch, no ray, no other folder of ours."""
