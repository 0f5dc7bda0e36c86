"""Known vulnerabilities, licences and bills of materials of what is shipped: `make audit`."""
