-- Roles whose sessions start on a cluster or search_path of their own.
SELECT r.name, p.parameter_name, p.parameter_value
FROM mz_catalog.mz_role_parameters p JOIN mz_catalog.mz_roles r ON r.id = p.role_id
WHERE p.parameter_name IN ('cluster', 'search_path')
ORDER BY 1, 2
