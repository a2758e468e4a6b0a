"""Azure Resource Manager and Microsoft Sentinel, with the app's identity."""
